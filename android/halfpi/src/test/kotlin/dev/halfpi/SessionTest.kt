package dev.halfpi

import java.nio.file.Path
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir

class SessionTest {
    @Test
    fun `a turn reads only what is new`() = withTiny { engine ->
        val session = engine.session(SessionConfig(system = "You are terse."))
        val first = session.respond("Hi", tokens(8))
        val second = session.respond("Go on", tokens(8))
        assertEquals(0, first.usage.cachedTokens)
        assertTrue(second.usage.cachedTokens >= first.usage.promptTokens, "${second.usage}")
        assertEquals(second.usage.promptTokens, second.usage.cachedTokens + second.usage.prefillTokens)
        assertEquals(
            listOf(Role.System, Role.User, Role.Assistant, Role.User, Role.Assistant),
            session.messages().map { it.role },
        )
    }

    @Test
    fun `prewarming reads the system message`() = withTiny { engine ->
        val session = engine.session(SessionConfig(system = "You are terse."))
        session.prewarm()
        assertTrue(session.respond("Hi", tokens(2)).usage.cachedTokens > 0)
    }

    @Test
    fun `a whole conversation is answered without a history of its own`() = withTiny { engine ->
        val session = engine.session()
        val conversation = listOf(ChatMessage.system("Be terse."), ChatMessage.user("Hi"))
        val answer = session.respond(conversation, tokens(8))
        assertEquals(answer.text, session.respond(conversation, tokens(8)).text)
        assertEquals(emptyList<ChatMessage>(), session.messages())
    }

    @Test
    fun `the context slides`() = withTiny { engine ->
        val session = engine.session(SessionConfig(contextLength = 96))
        assertEquals(96, session.contextLength)
        val answers = (1..6).map { session.respond("Question $it", tokens(16)).usage }
        assertTrue(answers.sumOf { it.prefillTokens + it.generatedTokens } > 96, "$answers")
        assertTrue(answers.all { it.promptTokens + it.generatedTokens <= 96 }, "$answers")
    }

    @Test
    fun `an answer stops at a stop string`() = withTiny { engine ->
        val whole = engine.session().respond("Hi", tokens(40)).text
        val stop = whole.substring(whole.length / 2, whole.length / 2 + 3)
        val answer = engine.session().respond("Hi", tokens(40).copy(stop = listOf(stop)))
        assertEquals(FinishReason.StopString, answer.finish)
        assertEquals(whole.substringBefore(stop), answer.text)
    }

    @Test
    fun `a fork goes its own way`() = withTiny { engine ->
        val session = engine.session()
        session.respond("Hi", tokens(8))
        session.fork().use { fork ->
            val there = fork.respond("Go on", tokens(8))
            val here = session.respond("Go on", tokens(8))
            assertEquals(there.text, here.text)
            fork.reset()
            assertEquals(0, fork.messages().size)
            assertEquals(4, session.messages().size)
        }
    }

    @Test
    fun `what is saved goes on where it was`(@TempDir directory: Path) = withTiny { engine ->
        val state = directory.resolve("state").toFile()
        val session = engine.session()
        session.respond("Hi", tokens(8))
        session.save(state)
        val expected = session.respond("Go on", tokens(8))
        engine.session().use { other ->
            other.restore(state)
            val answer = other.respond("Go on", tokens(8))
            assertEquals(expected.text, answer.text)
            assertTrue(answer.usage.cachedTokens > 0)
        }
    }
}
