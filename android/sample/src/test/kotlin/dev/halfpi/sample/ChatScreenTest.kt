package dev.halfpi.sample

import android.app.Activity
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.graphics.Canvas
import android.graphics.Color
import android.os.Looper
import android.view.View
import android.view.ViewGroup
import android.widget.Button
import android.widget.EditText
import android.widget.TextView
import dev.halfpi.Engine
import dev.halfpi.GenerationOptions
import dev.halfpi.ModelSource
import dev.halfpi.SessionConfig
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.MainScope
import kotlinx.coroutines.cancel
import kotlinx.coroutines.runBlocking
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import java.io.File

/** The sample's screen on Android's real framework: typed at, read, and photographed. */
@RunWith(RobolectricTestRunner::class)
@Config(qualifiers = "w360dp-h480dp-port-xhdpi")
class ChatScreenTest {
    @Test
    fun `a conversation with a model on the screen`() {
        val real = System.getenv("HALFPI_TEST_MODEL")
        if (real == null) println("HALFPI_TEST_MODEL is not set: the picture shows a model of random weights")
        val model = File(real ?: System.getProperty("halfpi.tiny.model"))
        val controller = Robolectric.buildActivity(Activity::class.java)
        // As in the app's manifest; a window that is there already would keep its title.
        controller.get().setTheme(android.R.style.Theme_DeviceDefault_Light_NoActionBar)
        val activity = controller.setup().get()
        val view = ChatView(activity)
        activity.setContentView(view)
        val scope = MainScope()
        val engine = runBlocking(Dispatchers.IO) { Engine.load(ModelSource.file(model)) }
        try {
            val config = SessionConfig(system = "You are a helpful assistant.", contextLength = 256)
            val session = runBlocking(Dispatchers.IO) { engine.session(config) }
            Chat(session, view, scope, GenerationOptions(maxTokens = 40, temperature = 0f, repetitionPenalty = 1f))
            for (question in listOf("What is the capital of France?", "What is it famous for?")) {
                view.all<EditText>().single().setText(question)
                view.all<Button>().single().performClick()
                assertEquals("Stop", view.all<Button>().single().text)
                waitFor("an answer to $question") { view.all<Button>().single().text == "Send" }
            }
            val texts = view.all<TextView>().filter { it !is Button && it !is EditText }.map { it.text.toString() }
            assertEquals(5, texts.size)
            assertEquals("What is the capital of France?", texts[0])
            assertTrue(texts[1], texts[1].isNotBlank())
            assertTrue(texts[4], "tokens/s" in texts[4])
            assertTrue(view.rootView.all<TextView>().none { "android.app" in it.text })
            look(photograph(view))
        } finally {
            scope.cancel()
            engine.close()
        }
    }

    @Test
    fun `a missing model is said on the screen`() {
        val activity = Robolectric.buildActivity(ChatActivity::class.java).setup()
        val root = activity.get().window.decorView
        waitFor("the error") { root.all<TextView>().any { "model.gguf" in it.text } }
        activity.pause().stop().destroy()
    }

    /** It was made by the test above, with the demo model. */
    @Test
    fun `the picture in the documentation shows a conversation`() {
        look(checkNotNull(BitmapFactory.decodeFile("../../docs/android-sample.png")))
    }

    /** Both colours of bubbles with text in them, on the sides where they belong. */
    private fun look(picture: Bitmap) {
        assertEquals(720, picture.width)
        assertEquals(960, picture.height)
        val pixels = IntArray(picture.width * picture.height)
        picture.getPixels(pixels, 0, picture.width, 0, 0, picture.width, picture.height)
        fun columns(color: Int) = pixels.indices.filter { pixels[it] == color }.map { it % picture.width }
        val (mine, theirs) = columns(Color.rgb(0x1F, 0x5F, 0xBF)) to columns(Color.rgb(0xEC, 0xEE, 0xF1))
        assertTrue("${mine.size}", mine.size > 10_000)
        assertTrue("${theirs.size}", theirs.size > 10_000)
        assertTrue(mine.average() > picture.width / 2)
        assertTrue(theirs.average() < picture.width / 2)
        // Letters: white on mine, black on theirs, and smoothed edges between.
        assertTrue(pixels.toSet().size > 50)
    }

    private fun photograph(view: View): Bitmap {
        shadowOf(Looper.getMainLooper()).idle()
        val root = view.rootView
        val picture = Bitmap.createBitmap(root.width, root.height, Bitmap.Config.ARGB_8888)
        root.draw(Canvas(picture))
        val file = File("target/chat.png")
        file.parentFile.mkdirs()
        file.outputStream().use { picture.compress(Bitmap.CompressFormat.PNG, 100, it) }
        println("the screen is in ${file.absolutePath}")
        return picture
    }

    private fun waitFor(what: String, isThere: () -> Boolean) {
        val deadline = System.nanoTime() + 60_000_000_000
        while (!isThere()) {
            check(System.nanoTime() < deadline) { "$what did not come" }
            shadowOf(Looper.getMainLooper()).idle()
            Thread.sleep(5)
        }
    }

    private inline fun <reified V : View> View.all(): List<V> = views().filterIsInstance<V>().toList()

    private fun View.views(): Sequence<View> = sequence {
        yield(this@views)
        if (this@views is ViewGroup) for (index in 0 until childCount) yieldAll(getChildAt(index).views())
    }
}
