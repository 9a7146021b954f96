package dev.halfpi.android

import android.content.ComponentCallbacks2
import android.content.Intent
import android.os.Looper
import android.os.PowerManager
import dev.halfpi.Engine
import dev.halfpi.ModelSource
import dev.halfpi.PowerMode
import dev.halfpi.TestModels
import dev.halfpi.TrimLevel
import dev.halfpi.blocking
import dev.halfpi.tokens
import kotlinx.coroutines.delay
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf

/** Heat, battery saver and memory pressure, as Android tells of them, and what becomes of the engine. */
@RunWith(RobolectricTestRunner::class)
class FollowDeviceTest {
    private val application = RuntimeEnvironment.getApplication()
    private val power = application.getSystemService(PowerManager::class.java)

    @Test
    fun `heat and battery saver slow the engine down`() = following { engine ->
        assertEquals(PowerMode.Full, engine.powerMode)
        for ((status, mode) in listOf(
            PowerManager.THERMAL_STATUS_LIGHT to PowerMode.Full,
            PowerManager.THERMAL_STATUS_SEVERE to PowerMode.Reduced,
            PowerManager.THERMAL_STATUS_CRITICAL to PowerMode.Paused,
            PowerManager.THERMAL_STATUS_NONE to PowerMode.Full,
        )) {
            shadowOf(power).setCurrentThermalStatus(status)
            idle()
            assertEquals("status $status", mode, engine.powerMode)
        }
        shadowOf(power).setIsPowerSaveMode(true)
        application.sendBroadcast(Intent(PowerManager.ACTION_POWER_SAVE_MODE_CHANGED))
        idle()
        assertEquals(PowerMode.Reduced, engine.powerMode)
    }

    @Test
    fun `memory is given back when the system asks`() = following { engine ->
        blocking {
            engine.session().use { session ->
                for (tell in listOf<() -> Unit>(
                    { application.onTrimMemory(ComponentCallbacks2.TRIM_MEMORY_COMPLETE) },
                    { application.onLowMemory() },
                )) {
                    assertTrue(session.respond("Hi", tokens(8)).text.isNotEmpty())
                    assertTrue(engine.memory().eachSession.single().cachedTokens > 8)
                    tell()
                    idle()
                    // Done in the background; a test that waits in vain is ended.
                    while (engine.memory().eachSession.single().cachedTokens > 0) delay(5)
                }
            }
        }
    }

    @Test
    fun `after closing nothing is followed any more`() = blocking {
        Engine.load(ModelSource.file(TestModels.tiny)).use { engine ->
            engine.followDevice(application).close()
            shadowOf(power).setCurrentThermalStatus(PowerManager.THERMAL_STATUS_CRITICAL)
            idle()
            assertEquals(PowerMode.Full, engine.powerMode)
        }
    }

    @Test
    fun `levels are told apart`() {
        assertNull(trimLevel(ComponentCallbacks2.TRIM_MEMORY_UI_HIDDEN))
        assertNull(trimLevel(5))
        assertEquals(TrimLevel.Moderate, trimLevel(ComponentCallbacks2.TRIM_MEMORY_BACKGROUND))
        assertEquals(TrimLevel.Critical, trimLevel(ComponentCallbacks2.TRIM_MEMORY_COMPLETE))
        assertEquals(TrimLevel.Moderate, trimLevel(10))
        assertEquals(TrimLevel.Critical, trimLevel(15))
        assertEquals(PowerMode.Paused, powerMode(PowerManager.THERMAL_STATUS_SHUTDOWN, isPowerSave = false))
        assertEquals(PowerMode.Reduced, powerMode(PowerManager.THERMAL_STATUS_NONE, isPowerSave = true))
    }

    private fun following(work: (Engine) -> Unit) = blocking {
        Engine.load(ModelSource.file(TestModels.tiny)).use { engine ->
            dev.halfpi.guide.follow(application, engine).use { work(engine) }
        }
    }

    private fun idle() = shadowOf(Looper.getMainLooper()).idle()
}
