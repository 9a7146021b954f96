package dev.halfpi

import kotlinx.coroutines.flow.toList
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** A conversation with a model that makes sense. */
class ConversationTest {
    @Test
    fun `SmolLM2 holds a streamed conversation of several turns`() {
        val model = TestModels.real()
        blocking {
            Engine.load(ModelSource.file(model)).use { engine ->
                val session = engine.session(SessionConfig(contextLength = 1024))
                val greedy = GenerationOptions(maxTokens = 48, temperature = 0f)
                suspend fun ask(question: String): Answer {
                    val events = session.stream(question, greedy).toList()
                    val answer = (events.last() as ChatEvent.Finished).answer
                    assertEquals(answer.text, events.filterIsInstance<ChatEvent.Text>().joinToString("") { it.text })
                    println("> $question\n${answer.text}\n  ${answer.finish}, ${answer.usage}")
                    return answer
                }
                val first = ask("What is the capital of France?")
                assertTrue("Paris" in first.text, first.text)
                val second = ask("Which river flows through that city?")
                assertTrue(second.usage.cachedTokens >= first.usage.promptTokens, "${second.usage}")
                val third = ask("Write one sentence about it.")
                assertTrue(third.usage.cachedTokens > second.usage.cachedTokens)
                assertEquals(6, session.messages().count { it.role != Role.System })
            }
        }
    }
}
