package dev.halfpi.android

import android.content.BroadcastReceiver
import android.content.ComponentCallbacks2
import android.content.Context
import android.content.Intent
import android.content.IntentFilter
import android.content.res.Configuration
import android.os.Build
import android.os.PowerManager
import dev.halfpi.Engine
import dev.halfpi.PowerMode
import dev.halfpi.TrimLevel
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.cancel
import kotlinx.coroutines.launch

/**
 * Makes the engine heed the device until the result is closed, which must be before the engine is: memory is given back
 * when the system asks for it, a hot device or battery saver slows the engine down, and a very hot one pauses it.
 */
fun Engine.followDevice(context: Context): AutoCloseable = DeviceFollower(this, context.applicationContext)

/** The power mode for a status of [PowerManager] (`THERMAL_STATUS_…`). */
internal fun powerMode(thermalStatus: Int, isPowerSave: Boolean): PowerMode = when {
    thermalStatus >= PowerManager.THERMAL_STATUS_CRITICAL -> PowerMode.Paused
    thermalStatus >= PowerManager.THERMAL_STATUS_MODERATE || isPowerSave -> PowerMode.Reduced
    else -> PowerMode.Full
}

/** What a level of [ComponentCallbacks2] (`TRIM_MEMORY_…`) asks for; null is nothing. */
internal fun trimLevel(level: Int): TrimLevel? = when {
    // The process is in the background and among the first to be killed.
    level >= ComponentCallbacks2.TRIM_MEMORY_MODERATE -> TrimLevel.Critical
    level >= ComponentCallbacks2.TRIM_MEMORY_BACKGROUND -> TrimLevel.Moderate
    // Our windows are not seen any more; that alone is no shortage.
    level >= ComponentCallbacks2.TRIM_MEMORY_UI_HIDDEN -> null
    level >= RUNNING_CRITICAL -> TrimLevel.Critical
    level >= RUNNING_LOW -> TrimLevel.Moderate
    else -> null
}

// Not sent any more since Android 14, so deprecated; older systems send them to the app in front.
private const val RUNNING_LOW = 10
private const val RUNNING_CRITICAL = 15

private class DeviceFollower(private val engine: Engine, private val context: Context) :
    BroadcastReceiver(), ComponentCallbacks2, AutoCloseable {
    private val power = context.getSystemService(PowerManager::class.java)
    private val scope = CoroutineScope(Dispatchers.Default)
    private val thermal: ThermalListener?

    init {
        context.registerComponentCallbacks(this)
        context.registerReceiver(this, IntentFilter(PowerManager.ACTION_POWER_SAVE_MODE_CHANGED))
        thermal = if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q) ThermalListener(power) { adapt() } else null
        adapt()
    }

    private fun adapt() {
        engine.powerMode = powerMode(thermal?.status ?: PowerManager.THERMAL_STATUS_NONE, power.isPowerSaveMode)
    }

    override fun onReceive(context: Context, intent: Intent) = adapt()

    override fun onTrimMemory(level: Int) {
        val wanted = trimLevel(level) ?: return
        scope.launch { engine.trim(wanted) }
    }

    override fun onConfigurationChanged(newConfig: Configuration) = Unit

    @Deprecated("Android calls it on systems older than those that have onTrimMemory.")
    override fun onLowMemory() = onTrimMemory(ComponentCallbacks2.TRIM_MEMORY_COMPLETE)

    override fun close() {
        thermal?.close()
        context.unregisterReceiver(this)
        context.unregisterComponentCallbacks(this)
        scope.cancel()
    }
}

/** A class of its own: its interface does not exist before Android 10. */
private class ThermalListener(private val power: PowerManager, private val onChange: () -> Unit) :
    PowerManager.OnThermalStatusChangedListener, AutoCloseable {
    @Volatile
    var status: Int = power.currentThermalStatus
        private set

    init {
        power.addThermalStatusListener(this)
    }

    override fun onThermalStatusChanged(status: Int) {
        this.status = status
        onChange()
    }

    override fun close() = power.removeThermalStatusListener(this)
}
