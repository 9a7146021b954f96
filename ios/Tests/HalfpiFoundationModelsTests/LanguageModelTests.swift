import Foundation
import FoundationModels
import Halfpi
import HalfpiFoundationModels
import HalfpiTestSupport
import Testing

/// Against the stand-in for Apple's framework: what is translated, not whether Apple's compiler takes it.
@Suite(.timeLimit(.minutes(1))) struct LanguageModelTests {
    private typealias Channel = LanguageModelExecutorGenerationChannel

    private func prompt(_ text: String) -> Transcript.Entry {
        .prompt(Transcript.Prompt(segments: [.text(.init(content: text))]))
    }

    private func response(_ text: String) -> Transcript.Entry {
        .response(Transcript.Response(segments: [.text(.init(content: text))]))
    }

    private func ask(
        _ model: HalfpiLanguageModel,
        _ executor: HalfpiLanguageModel.Executor,
        _ entries: [Transcript.Entry],
        tokens: Int = 12
    ) async throws -> (text: String, cached: Int) {
        let channel = Channel()
        let options = FoundationModels.GenerationOptions(samplingMode: .greedy, maximumResponseTokens: tokens)
        let request = LanguageModelExecutorGenerationRequest(
            transcript: Transcript(entries: entries), generationOptions: options)
        try await executor.respond(to: request, model: model, streamingInto: channel)
        var (text, cached) = ("", -1)
        for event in await channel.record.events {
            switch event {
            case .response(.text(let piece)): text += piece
            case .response(.usage(let input, _)): cached = input.cachedTokenCount
            default: break
            }
        }
        return (text, cached)
    }

    @Test func aTranscriptIsAnsweredAndReadOnce() async throws {
        let engine = try await TestModel.engine()
        let model = HalfpiLanguageModel(engine)
        let executor = try HalfpiLanguageModel.Executor(configuration: model.executorConfiguration)

        let first = try await ask(model, executor, [prompt("hello")])
        var greedy = Halfpi.GenerationOptions(maxTokens: 12, temperature: 0)
        let direct = try await engine.session().respond(to: "hello", options: greedy)
        #expect(first.text == direct.text)
        #expect(first.cached == 0)

        greedy.maxTokens = 1
        let second = try await ask(model, executor, [prompt("hello"), response(first.text), prompt("and now?")])
        #expect(second.cached > 10)
    }

    @Test func equalModelsShareAnExecutor() async throws {
        let engine = try await TestModel.engine()
        let (one, same) = (HalfpiLanguageModel(engine), HalfpiLanguageModel(engine))
        let other = HalfpiLanguageModel(engine, config: SessionConfig(contextLength: 64))
        #expect(one.executorConfiguration == same.executorConfiguration)
        #expect(one.executorConfiguration != other.executorConfiguration)
    }

    @Test func aPromptThatIsTooLongIsTheSystemsError() async throws {
        let model = HalfpiLanguageModel(try await TestModel.engine(), config: SessionConfig(overflow: .error))
        let executor = try HalfpiLanguageModel.Executor(configuration: model.executorConfiguration)
        do {
            _ = try await ask(model, executor, [prompt(String(repeating: "long ", count: 400))])
            Issue.record("nothing was thrown")
        } catch LanguageModelError.contextSizeExceeded(let sizes) {
            #expect(sizes.tokenCount > sizes.contextSize)
        }
    }

    @Test func anImageIsRefusedNotLeftOut() async throws {
        let model = HalfpiLanguageModel(try await TestModel.engine())
        let executor = try HalfpiLanguageModel.Executor(configuration: model.executorConfiguration)
        let image = Transcript.Entry.prompt(.init(segments: [.attachment("image")]))
        do {
            _ = try await ask(model, executor, [image])
            Issue.record("nothing was thrown")
        } catch LanguageModelError.unsupportedTranscriptContent {}
    }

    @Test func cancellingIsNoAnswer() async throws {
        let model = HalfpiLanguageModel(try await TestModel.engine())
        let executor = try HalfpiLanguageModel.Executor(configuration: model.executorConfiguration)
        let task = Task { try await ask(model, executor, [prompt("hello")], tokens: 50_000_000) }
        try await Task.sleep(for: .milliseconds(30))
        task.cancel()
        do {
            _ = try await task.value
            Issue.record("nothing was thrown")
        } catch is CancellationError {}
    }
}
