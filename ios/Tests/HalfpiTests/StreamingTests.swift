import Foundation
import Halfpi
import HalfpiTestSupport
import Testing

@Suite struct StreamingTests {
    @Test func piecesMakeTheAnswer() async throws {
        let session = try await TestModel.engine().session()
        let heard = try await Heard(session.stream("hello", options: .greedy(40)))

        let answer = try #require(heard.answers.first)
        #expect(heard.answers.count == 1)
        #expect(heard.pieces.count > 1)
        #expect(heard.pieces.allSatisfy { !$0.isEmpty })
        #expect(heard.pieces.joined() == answer.text)
        #expect(answer.finish == .maxTokens)
        #expect(answer.usage.generatedTokens == 40)
        #expect(answer.usage.cachedTokens + answer.usage.prefillTokens == answer.usage.promptTokens)
        #expect(answer.usage.decodeTime > .zero)
    }

    @Test func respondGivesTheSameAsAStream() async throws {
        let engine = try await TestModel.engine()
        let streamed = try await Heard(engine.session().stream("hello", options: .greedy(20)))
        let answer = try await engine.session().respond(to: "hello", options: .greedy(20))
        #expect(answer.text == streamed.answers.first?.text)
    }

    @Test func onlyTheText() async throws {
        let session = try await TestModel.engine().session()
        var text = ""
        for try await piece in session.stream("hello", options: .greedy(20)).text { text += piece }
        let last = try await session.messages.last
        #expect(last == ChatMessage(role: .assistant, content: text))
    }

    /// Whoever reads slowly neither loses a piece nor holds up the model.
    @Test func aSlowReaderLosesNothing() async throws {
        let session = try await TestModel.engine().session()
        let stream = session.stream("hello", options: .greedy(60))
        // It has answered before the first piece is read: the session is free again.
        #expect(await eventually { (try? await session.messages) != nil })

        var pieces: [String] = []
        var answer: Answer?
        for try await event in stream {
            switch event {
            case .text(let piece): pieces.append(piece)
            case .finished(let whole): answer = whole
            case .thinking, .toolCall: break
            }
            try await Task.sleep(for: .milliseconds(2))
        }
        #expect(pieces.joined() == answer?.text)
        #expect(answer?.usage.generatedTokens == 60)
    }

    @Test func turnsContinueAConversation() async throws {
        let session = try await TestModel.engine().session(SessionConfig(system: "Be kind."))
        let first = try await session.respond(to: "hello", options: .greedy(8))
        let second = try await session.respond(to: "and now?", options: .greedy(8))

        let contents = try await session.messages.map(\.content)
        #expect(contents == ["Be kind.", "hello", first.text, "and now?", second.text])
        // The second turn read only what was new.
        #expect(second.usage.cachedTokens >= first.usage.promptTokens)
    }

    @Test func aStoredConversationGoesOn() async throws {
        let engine = try await TestModel.engine()
        let session = try await engine.session()
        _ = try await session.respond(to: "hello", options: .greedy(8))
        let asked = try await session.messages + [ChatMessage(role: .user, content: "and now?")]
        let next = try await session.respond(to: "and now?", options: .greedy(8))

        let elsewhere = try await engine.session()
        let answer = try await Heard(elsewhere.stream(messages: asked, options: .greedy(8))).answers.first
        #expect(answer?.text == next.text)
        #expect(try await elsewhere.messages.isEmpty)

        try await elsewhere.setMessages(Array(asked.dropLast()))
        let continued = try await elsewhere.respond(to: "and now?", options: .greedy(8))
        #expect(continued.text == next.text)
    }

    @Test func prewarmingReadsTheSystemMessage() async throws {
        let session = try await TestModel.engine().session(SessionConfig(system: "Be kind to everybody."))
        try await session.prewarm()
        let answer = try await session.respond(to: "hello", options: .greedy(1))
        #expect(answer.usage.cachedTokens > 10)
    }

    @Test func aSeedRepeatsAnAnswer() async throws {
        let engine = try await TestModel.engine()
        let random = GenerationOptions(maxTokens: 20, temperature: 1.5)
        let first = try await engine.session().respond(to: "hello", options: random)
        var seeded = random
        seeded.seed = first.usage.seed
        let again = try await engine.session().respond(to: "hello", options: seeded)
        #expect(again.text == first.text)
    }

    @Test func theModelIsDescribed() async throws {
        let info = try await ModelInfo.inspect(.path(TestModel.tiny))
        #expect(info.architecture == "llama")
        #expect(info.contextLength == 256)
        #expect(info.vocabularySize == 283)
        #expect(info.hasChatTemplate)
        let engine = try await TestModel.engine()
        #expect(engine.info == info)
        #expect(engine.threads == 1)
        #expect(HalfpiLibrary.availableBackends.contains(engine.backend))
        #expect(try await engine.tokenCount("hello") > 0)

        let memory = try await MemoryNeeded.of(.path(TestModel.tiny))
        #expect(memory.totalBytes == memory.weightsBytes + memory.heapBytes + memory.sessionBytes)
    }
}
