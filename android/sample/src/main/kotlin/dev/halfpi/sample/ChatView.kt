package dev.halfpi.sample

import android.content.Context
import android.graphics.Color
import android.graphics.drawable.GradientDrawable
import android.text.InputType
import android.view.Gravity
import android.view.View
import android.view.ViewGroup.LayoutParams.MATCH_PARENT
import android.view.ViewGroup.LayoutParams.WRAP_CONTENT
import android.view.inputmethod.EditorInfo
import android.widget.Button
import android.widget.EditText
import android.widget.LinearLayout
import android.widget.ScrollView
import android.widget.TextView

/** What a chat looks like: bubbles that scroll, a status line, a text field and one button that sends or stops. */
class ChatView(context: Context) : LinearLayout(context) {
    /** Called with what the user has typed. */
    var onSend: (String) -> Unit = {}

    /** Called when the user has heard enough. */
    var onStop: () -> Unit = {}

    private val bubbles = LinearLayout(context).apply { orientation = VERTICAL }
    private val scroll = ScrollView(context).apply { addView(bubbles) }
    private val status = TextView(context).apply {
        textSize = 12f
        setTextColor(Color.GRAY)
        setPadding(dp(16), dp(4), dp(16), dp(4))
    }
    private val input = EditText(context).apply {
        hint = "Ask something"
        inputType = InputType.TYPE_CLASS_TEXT or InputType.TYPE_TEXT_FLAG_CAP_SENTENCES
        imeOptions = EditorInfo.IME_ACTION_SEND
        setOnEditorActionListener { _, _, _ -> press() }
    }
    private val button = Button(context).apply { setOnClickListener { press() } }

    /** Whether an answer is coming: the button stops it then. */
    var isAnswering: Boolean = false
        set(value) {
            field = value
            button.text = if (value) "Stop" else "Send"
        }

    init {
        orientation = VERTICAL
        setBackgroundColor(Color.WHITE)
        // Below the status bar and above the keyboard.
        fitsSystemWindows = true
        isAnswering = false
        val row = LinearLayout(context).apply {
            setPadding(dp(12), dp(4), dp(12), dp(12))
            addView(input, LayoutParams(0, WRAP_CONTENT, 1f))
            addView(button, LayoutParams(WRAP_CONTENT, WRAP_CONTENT))
        }
        addView(scroll, LayoutParams(MATCH_PARENT, 0, 1f))
        addView(status, LayoutParams(MATCH_PARENT, WRAP_CONTENT))
        addView(row, LayoutParams(MATCH_PARENT, WRAP_CONTENT))
    }

    /** What the line above the text field says. */
    fun say(text: String) {
        status.text = text
    }

    /** Adds a bubble and returns its text view, which can be appended to. */
    fun addBubble(text: String, isMine: Boolean): TextView {
        val bubble = TextView(context).apply {
            this.text = text
            textSize = 16f
            setTextColor(if (isMine) Color.WHITE else Color.BLACK)
            setPadding(dp(14), dp(10), dp(14), dp(10))
            maxWidth = resources.displayMetrics.widthPixels * 4 / 5
            background = GradientDrawable().apply {
                cornerRadius = dp(18).toFloat()
                setColor(if (isMine) MINE else THEIRS)
            }
        }
        val place = LayoutParams(WRAP_CONTENT, WRAP_CONTENT).apply {
            gravity = if (isMine) Gravity.END else Gravity.START
            setMargins(dp(12), dp(6), dp(12), dp(6))
        }
        bubbles.addView(bubble, place)
        scrollDown()
        return bubble
    }

    /** Shows the end of the conversation. */
    fun scrollDown() {
        scroll.post { scroll.fullScroll(View.FOCUS_DOWN) }
    }

    private fun press(): Boolean {
        val text = input.text.toString().trim()
        when {
            isAnswering -> onStop()
            text.isNotEmpty() -> {
                input.text.clear()
                onSend(text)
            }
        }
        return true
    }

    private fun dp(size: Int): Int = (size * resources.displayMetrics.density).toInt()

    private companion object {
        val MINE = Color.rgb(0x1F, 0x5F, 0xBF)
        val THEIRS = Color.rgb(0xEC, 0xEE, 0xF1)
    }
}
