package dev.halfpi

import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.catch
import kotlinx.coroutines.flow.collect
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.map
import kotlinx.coroutines.flow.onEach
import kotlinx.coroutines.flow.take
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.launch
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertInstanceOf
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows

class StreamTest {
    @Test
    fun `text arrives in pieces and the last event has all of it`() = withTiny { engine ->
        val session = engine.session()
        val events = session.stream("Hi", tokens(40)).toList()
        val pieces = events.dropLast(1).map { assertInstanceOf(ChatEvent.Text::class.java, it).text }
        val answer = assertInstanceOf(ChatEvent.Finished::class.java, events.last()).answer
        assertTrue(pieces.size > 10, "$pieces")
        assertEquals(answer.text, pieces.joinToString(""))
        assertEquals(FinishReason.MaxTokens, answer.finish)
        assertEquals(40, answer.usage.generatedTokens)
        assertEquals(1L, answer.usage.seed)
        assertTrue(answer.usage.prefillTokens > 0)
    }

    @Test
    fun `nothing runs before somebody collects, and every collector has its own answer`() = withTiny { engine ->
        val session = engine.session()
        val stream = session.stream("Hi", tokens(8))
        assertEquals(0, session.messages().size)
        stream.collect()
        stream.collect()
        assertEquals(listOf(Role.User, Role.Assistant, Role.User, Role.Assistant), session.messages().map { it.role })
    }

    @Test
    fun `a slow collector loses nothing and does not hold the engine up`() = withTiny { engine ->
        val expected = engine.session().respond("Hi", tokens(60)).text
        val session = engine.session()
        val gate = Channel<Unit>()
        val slow = async {
            val heard = StringBuilder()
            session.stream("Hi", tokens(60)).text().onEach { if (heard.isEmpty()) gate.receive() }.collect(heard::append)
            heard.toString()
        }
        // The collector stands at its first piece; others are served all the same.
        assertEquals(expected, engine.session().respond("Hi", tokens(60)).text)
        gate.send(Unit)
        assertEquals(expected, slow.await())
    }

    @Test
    fun `a collector that has enough stops the answer and the session is free`() = withTiny { engine ->
        val session = engine.longSession()
        assertEquals(3, session.stream("Hi", endless).text().take(3).toList().size)
        val next = session.respond("And?", tokens(4))
        assertEquals(4, next.usage.generatedTokens)
    }

    @Test
    fun `the session of a cancelled coroutine is free for the next question`() = withTiny { engine ->
        val session = engine.longSession()
        val started = Channel<Unit>(Channel.CONFLATED)
        val job = launch(Dispatchers.Default) {
            session.stream("Hi", endless).collect { started.send(Unit) }
        }
        started.receive()
        job.cancelAndJoin()
        session.respond("And?", tokens(4))
    }

    @Test
    fun `what a collector throws is thrown as it is and stops the answer`() = withTiny { engine ->
        val session = engine.longSession()
        class Mine : Exception()
        assertThrows<Mine> { blocking { session.stream("Hi", endless).collect { throw Mine() } } }
        session.respond("And?", tokens(4))
    }

    @Test
    fun `a cancelled coroutine that waits behind another session ends at once`() = withTiny { engine ->
        val (front, behind) = engine.longSession() to engine.session()
        val started = Channel<Unit>(Channel.CONFLATED)
        val running = launch(Dispatchers.Default) {
            front.stream("Hi", endless).collect { started.send(Unit) }
        }
        started.receive()
        val waiting = launch(Dispatchers.Default) { behind.respond("Hi", tokens(4)) }
        delay(50)
        waiting.cancelAndJoin()
        assertTrue(running.isActive)
        running.cancelAndJoin()
    }

    @Test
    fun `operators of flows work on a stream`() = withTiny { engine ->
        val session = engine.session()
        assertTrue(session.stream("Hi", tokens(8)).text().map { it.length }.first() > 0)
        val caught = mutableListOf<Throwable>()
        session.stream("Hi", GenerationOptions(temperature = -1f)).catch { caught += it }.collect()
        assertInstanceOf(HalfpiException.InvalidOption::class.java, caught.single())
    }

    @Test
    fun `twenty sessions at once say what they say one by one`() = withTiny { engine ->
        suspend fun say(seed: Int): String {
            engine.session().use { session ->
                val first = session.respond("Question $seed", tokens(12, seed.toLong())).text
                return first + "|" + session.respond("Go on", tokens(12, seed.toLong())).text
            }
        }
        val alone = (1..20).map { say(it) }
        val together = (1..20).map { async(Dispatchers.Default) { say(it) } }.awaitAll()
        assertEquals(alone, together)
        assertEquals(20, alone.toSet().size)
    }
}
