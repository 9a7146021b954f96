import Halfpi
import HalfpiTestSupport
import Testing

/// Tools and thoughts, with a model whose words never change.
@Suite(.timeLimit(.minutes(1))) struct ToolTests {
    private let weather = ToolDeclaration(
        name: "weather",
        description: "The weather in a city now",
        parametersJSONSchema: #"{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}"#
    )
    private let thought = "That I must look up."
    private let said = "Sunny in Rome, 24 °C."
    private let question = "How is the weather in Rome?"

    private func session(_ config: SessionConfig) async throws -> Session {
        let engine = try await Engine.load(.path(TestModel.toolCaller), config: EngineConfig(threads: 1))
        #expect(engine.info.supportsTools && engine.info.supportsThinking)
        return try await engine.session(config)
    }

    @Test func aThoughtACallItsResultAndTheAnswer() async throws {
        let session = try await session(SessionConfig(tools: [weather]))
        var (thinking, calls, parts) = ("", [ToolCall](), [String]())
        var asked: Answer?
        for try await event in session.stream(question) {
            switch event {
            case .text: parts.append("text")
            case .thinking(let piece):
                thinking += piece
                parts.append("thinking")
            case .toolCall(let call):
                calls.append(call)
                parts.append("call")
            case .finished(let answer): asked = answer
            }
        }
        // In this order, and nothing of them is text.
        #expect(parts.drop { $0 == "thinking" } == ["call"])
        #expect(thinking == thought)
        let call = try #require(calls.first)
        #expect(call.name == "weather")
        #expect(call.argumentsJSON.filter { !$0.isWhitespace } == #"{"city":"Rome"}"#)
        #expect(asked?.finish == .toolCalls)
        #expect(asked?.text == "")
        #expect(asked?.thinking == thought)
        #expect(asked?.toolCalls == calls)

        let answer = try await session.respond(toolResults: ["sunny, 24 °C"])
        #expect(answer.finish == .endOfTurn)
        #expect(answer.text == said)
        #expect(answer.thinking == nil)
        #expect(
            try await session.messages == [
                ChatMessage(role: .user, content: question),
                ChatMessage(role: .assistant, content: "", thinking: thought, toolCalls: calls),
                ChatMessage(role: .tool, content: "sunny, 24 °C"),
                ChatMessage(role: .assistant, content: said),
            ])
    }

    @Test func thinkingCanBeSwitchedOff() async throws {
        let session = try await session(SessionConfig(tools: [weather], thinking: false))
        let answer = try await session.respond(to: question)
        #expect(answer.thinking == nil)
        #expect(answer.toolCalls.map(\.name) == ["weather"])
    }

    @Test func withoutToolsNothingIsCalled() async throws {
        #expect(try await session(SessionConfig()).respond(to: question).text == said)
    }

    @Test func anAnswerWithASchemaCallsNoToolAndThinksFirstIfAskedTo() async throws {
        let session = try await session(SessionConfig(tools: [weather], thinking: true))
        let colours = [#""red""#, #""green""#, #""blue""#]
        let options = GenerationOptions(maxTokens: 60, seed: 1, jsonSchema: #"{"enum": ["red", "green", "blue"]}"#)
        let answer = try await session.respond(to: "Which colour?", options: options)
        #expect(colours.contains(answer.text))
        #expect(answer.thinking == thought)
        #expect(answer.toolCalls.isEmpty)
        #expect(answer.finish == .endOfTurn)
        // The next one may call again, and the result may be told as JSON.
        #expect(try await session.respond(to: question).finish == .toolCalls)
        #expect(colours.contains(try await session.respond(toolResults: ["sunny"], options: options).text))
    }

    @Test func toolsThatCannotBeDeclared() async throws {
        let engine = try await Engine.load(.path(TestModel.toolCaller))
        var (broken, nameless) = (weather, weather)
        broken.parametersJSONSchema = "none"
        nameless.name = ""
        for tools in [[broken], [nameless], [weather, weather]] {
            guard case .invalidOption("tools", _)? = await failure({ try await engine.session(SessionConfig(tools: tools)) })
            else {
                Issue.record("not the error expected")
                return
            }
        }
    }
}
