package dev.halfpi

/**
 * How a session begins.
 *
 * @property system the system message.
 * @property contextLength the most tokens that it remembers; null is 4096, or the model's own length if that is
 * less.
 * @property kvPrecision how the cache is stored.
 * @property overflow what happens when the context is full.
 * @property tools what the model may call.
 * @property thinking whether a model that can think does so before it answers; null is as its template has it.
 */
data class SessionConfig(
    val system: String? = null,
    val contextLength: Int? = null,
    val kvPrecision: KvPrecision = KvPrecision.F16,
    val overflow: Overflow = Overflow.Slide,
    val tools: List<Tool> = emptyList(),
    val thinking: Boolean? = null,
)

/** How a session's cache is stored. */
enum class KvPrecision {
    /** Two bytes a value. */
    F16,

    /** One byte a value and a scale: half the memory for a little accuracy. */
    Int8,
}

/** What happens when the context is full. */
enum class Overflow {
    /** The oldest turns are forgotten; the system message stays. */
    Slide,

    /** The request fails with [HalfpiException.ContextOverflow]. */
    Error,

    /** The answer ends with [FinishReason.ContextFull]. */
    Stop,
}

/**
 * Something that the model may call.
 *
 * @property parametersJsonSchema a JSON schema of the object that holds its arguments.
 */
data class Tool(val name: String, val description: String, val parametersJsonSchema: String)

/** Who says a message. */
enum class Role { System, User, Assistant, Tool }

/**
 * One message of a conversation.
 *
 * @property thinking what the model thought before it said this.
 * @property toolCalls what the model wanted to call.
 */
data class ChatMessage(
    val role: Role,
    val content: String,
    val thinking: String? = null,
    val toolCalls: List<ToolCall> = emptyList(),
) {
    companion object {
        /** What the app tells the model. */
        fun system(content: String): ChatMessage = ChatMessage(Role.System, content)

        /** What the user says. */
        fun user(content: String): ChatMessage = ChatMessage(Role.User, content)

        /** What the model has said. */
        fun assistant(content: String): ChatMessage = ChatMessage(Role.Assistant, content)
    }
}
