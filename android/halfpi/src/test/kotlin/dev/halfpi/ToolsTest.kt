package dev.halfpi

import kotlinx.coroutines.flow.toList
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows

/** Tools and thoughts, with a model whose words never change. */
class ToolsTest {
    private val weather = Tool(
        name = "weather",
        description = "The weather in a city now",
        parametersJsonSchema = """{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}""",
    )
    private val thought = "That I must look up."
    private val said = "Sunny in Rome, 24 °C."

    @Test
    fun `a thought, a call, its result and the answer`() = withSession(SessionConfig(tools = listOf(weather))) { session ->
        val events = session.stream("How is the weather in Rome?").toList()
        val asked = (events.last() as ChatEvent.Finished).answer
        assertEquals(FinishReason.ToolCalls, asked.finish)
        assertEquals("", asked.text)
        assertEquals(thought, asked.thinking)
        assertEquals(thought, events.filterIsInstance<ChatEvent.Thinking>().joinToString("") { it.text })
        val call = asked.toolCalls.single()
        assertEquals("weather", call.name)
        assertEquals("""{"city":"Rome"}""", call.argumentsJson.filterNot(Char::isWhitespace))
        assertEquals(listOf(ChatEvent.Call(call)), events.filterIsInstance<ChatEvent.Call>())
        // In this order, and nothing of them is text.
        assertTrue(events.indexOfLast { it is ChatEvent.Thinking } < events.indexOf(ChatEvent.Call(call)))
        assertTrue(events.none { it is ChatEvent.Text })

        val answer = (session.streamToolResults(listOf("sunny, 24 °C")).toList().last() as ChatEvent.Finished).answer
        assertEquals(FinishReason.EndOfTurn, answer.finish)
        assertEquals(said, answer.text)
        assertNull(answer.thinking)
        assertEquals(
            listOf(
                ChatMessage.user("How is the weather in Rome?"),
                ChatMessage(Role.Assistant, "", thought, listOf(call)),
                ChatMessage(Role.Tool, "sunny, 24 °C"),
                ChatMessage.assistant(said),
            ),
            session.messages(),
        )
    }

    @Test
    fun `thinking can be switched off`() =
        withSession(SessionConfig(tools = listOf(weather), thinking = false)) { session ->
            val events = session.stream("How is the weather in Rome?").toList()
            assertTrue(events.none { it is ChatEvent.Thinking })
            assertEquals("weather", (events.last() as ChatEvent.Finished).answer.toolCalls.single().name)
        }

    @Test
    fun `without tools nothing is called`() = withSession(SessionConfig()) { session ->
        assertEquals(said, session.respond("How is the weather in Rome?").text)
    }

    @Test
    fun `an answer with a schema calls no tool, and thinks first if asked to`() =
        withSession(SessionConfig(tools = listOf(weather), thinking = true)) { session ->
            val schema = """{"enum": ["red", "green", "blue"]}"""
            val options = GenerationOptions(maxTokens = 60, seed = 1, jsonSchema = schema)
            val answer = session.respond("Which colour?", options)
            assertTrue(answer.text in listOf("\"red\"", "\"green\"", "\"blue\""), answer.text)
            assertEquals(thought, answer.thinking)
            assertEquals(emptyList<ToolCall>(), answer.toolCalls)
            assertEquals(FinishReason.EndOfTurn, answer.finish)
            // The next one may call again, and the result may be told as JSON.
            assertEquals(FinishReason.ToolCalls, session.respond("How is the weather in Rome?").finish)
            val told = session.respondToolResults(listOf("sunny"), options).text
            assertTrue(told in listOf("\"red\"", "\"green\"", "\"blue\""), told)
        }

    @Test
    fun `tools that cannot be declared`() = blocking {
        Engine.load(ModelSource.file(TestModels.toolCaller)).use { engine ->
            for (tools in listOf(
                listOf(weather.copy(parametersJsonSchema = "none")),
                listOf(weather.copy(name = "")),
                listOf(weather, weather),
            )) {
                val error = assertThrows<HalfpiException.InvalidOption> { blocking { engine.session(SessionConfig(tools = tools)) } }
                assertEquals("tools", error.option)
            }
        }
    }

    private fun withSession(config: SessionConfig, work: suspend (Session) -> Unit) = blocking {
        Engine.load(ModelSource.file(TestModels.toolCaller), EngineConfig(threads = 1)).use { engine ->
            assertTrue(engine.info.supportsTools && engine.info.supportsThinking)
            engine.session(config).use { work(it) }
        }
    }
}
