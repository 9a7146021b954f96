package dev.halfpi

import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.filterIsInstance
import kotlinx.coroutines.flow.map

/**
 * How an answer is made.
 *
 * @property maxTokens the answer's length at most; null is as far as the context goes.
 * @property temperature 0 always takes the likeliest token; 1 is the model's own distribution.
 * @property topK keeps this many tokens; 0 keeps all.
 * @property topP keeps the likeliest tokens that have this probability together.
 * @property minP drops tokens less likely than this share of the likeliest.
 * @property repetitionPenalty makes tokens that were there less likely; 1 does nothing.
 * @property frequencyPenalty taken from a token's score for every time that it was there.
 * @property presencePenalty taken from the scores of all tokens that were there.
 * @property penaltyLastN how many of the last tokens these three look at.
 * @property seed the same seed gives the same answer; null takes a new one, told in [Usage.seed].
 * @property stop texts that end the answer and are no part of it.
 * @property jsonSchema makes the answer JSON of this schema. Such an answer calls no tools, and thinks before only if
 * [SessionConfig.thinking] is true.
 */
data class GenerationOptions(
    val maxTokens: Int? = null,
    val temperature: Float = 0.7f,
    val topK: Int = 40,
    val topP: Float = 0.95f,
    val minP: Float = 0.05f,
    val repetitionPenalty: Float = 1.1f,
    val frequencyPenalty: Float = 0f,
    val presencePenalty: Float = 0f,
    val penaltyLastN: Int = 64,
    val seed: Long? = null,
    val stop: List<String> = emptyList(),
    val jsonSchema: String? = null,
)

/** What a stream brings, in order; [Finished] is always the last. */
sealed interface ChatEvent {
    /** The next piece of the answer: whole characters, mostly one token. */
    data class Text(val text: String) : ChatEvent

    /** The next piece of what the model thinks before it answers. */
    data class Thinking(val text: String) : ChatEvent

    /** The model asks for a call; answer it with [Session.streamToolResults]. */
    data class Call(val call: ToolCall) : ChatEvent

    /** The answer is complete. */
    data class Finished(val answer: Answer) : ChatEvent
}

/** A call that the model asks for. [argumentsJson] is a JSON object; whether it fits the schema is yours to check. */
data class ToolCall(val name: String, val argumentsJson: String)

/**
 * A complete answer.
 *
 * @property text what was streamed as [ChatEvent.Text], put together.
 * @property thinking what was streamed as [ChatEvent.Thinking], if anything.
 * @property toolCalls what was streamed as [ChatEvent.Call].
 */
data class Answer(
    val text: String,
    val thinking: String?,
    val toolCalls: List<ToolCall>,
    val finish: FinishReason,
    val usage: Usage,
)

/** Why an answer ended. */
enum class FinishReason {
    /** The model said that it is done. */
    EndOfTurn,

    /** One of [GenerationOptions.stop] came. */
    StopString,

    /** [GenerationOptions.maxTokens] were made. */
    MaxTokens,

    /** The context is full, and [Overflow.Stop] was asked for. */
    ContextFull,

    /** Somebody cancelled it. */
    Cancelled,

    /** It waits for the results of tool calls. */
    ToolCalls,
}

/**
 * What an answer took.
 *
 * @property promptTokens the conversation's length when the answer began.
 * @property cachedTokens how many of them the session still had.
 * @property prefillTokens how many of them were read.
 * @property generatedTokens the answer's length.
 * @property timeToFirstTokenSeconds from the beginning of the work to the first token.
 * @property decodeSeconds making the tokens after the first.
 * @property seed what gives this answer again.
 */
data class Usage(
    val promptTokens: Int,
    val cachedTokens: Int,
    val prefillTokens: Int,
    val generatedTokens: Int,
    val prefillSeconds: Double,
    val timeToFirstTokenSeconds: Double,
    val decodeSeconds: Double,
    val seed: Long,
) {
    /** The speed of the tokens after the first; 0 if there are none. */
    val decodeTokensPerSecond: Double
        get() = if (decodeSeconds > 0) (generatedTokens - 1) / decodeSeconds else 0.0
}

/** Only the text of a stream, for a view that appends it. */
fun Flow<ChatEvent>.text(): Flow<String> = filterIsInstance<ChatEvent.Text>().map { it.text }
