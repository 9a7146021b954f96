import Foundation
import Halfpi
import HalfpiTestSupport
import Testing

@Suite(.timeLimit(.minutes(1))) struct ErrorTests {
    @Test func aMissingFile() async throws {
        let missing = "/nowhere/model.gguf"
        guard case .io(missing, let detail)? = await failure({ try await Engine.load(.path(missing)) }) else {
            Issue.record("not the error expected")
            return
        }
        #expect(!detail.isEmpty)
    }

    @Test func aForeignFile() async throws {
        for error in [
            await failure({ try await Engine.load(.path(#filePath)) }),
            await failure({ try await ModelInfo.inspect(.path(#filePath)) }),
        ] {
            guard case .modelFile(#filePath, _)? = error else {
                Issue.record("\(String(describing: error))")
                return
            }
        }
    }

    @Test func aFileCutShort() async throws {
        let whole = try Data(contentsOf: URL(filePath: TestModel.tiny))
        let cut = FileManager.default.temporaryDirectory.appending(path: "\(UUID().uuidString).gguf")
        try whole.prefix(whole.count / 2).write(to: cut)
        defer { try? FileManager.default.removeItem(at: cut) }
        let error = await failure { try await Engine.load(.path(cut.path)) }
        guard case .modelFile? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    @Test func anUnknownBackend() async throws {
        let config = EngineConfig(backend: "quantum")
        let error = await failure { try await Engine.load(.path(TestModel.tiny), config: config) }
        #expect(error == .backend(name: "quantum", available: HalfpiLibrary.availableBackends))
    }

    @Test(arguments: [EngineConfig(threads: 0), EngineConfig(threads: -1), EngineConfig(prefillChunk: 1 << 40)])
    func anEngineOptionOutOfRange(config: EngineConfig) async throws {
        let error = await failure { try await Engine.load(.path(TestModel.tiny), config: config) }
        #expect(error?.option == (config.threads == nil ? "prefillChunk" : "threads"))
    }

    @Test(arguments: [-1, 0, 257])
    func aContextThatTheModelDoesNotHave(length: Int) async throws {
        let engine = try await TestModel.engine()
        let error = await failure { try await engine.session(SessionConfig(contextLength: length)) }
        #expect(error?.option?.lowercased().hasPrefix("context") == true)
    }

    @Test(arguments: [
        GenerationOptions(temperature: -1), GenerationOptions(temperature: .nan), GenerationOptions(topP: 2),
        GenerationOptions(maxTokens: -5),
    ])
    func aSamplingOptionOutOfRange(options: GenerationOptions) async throws {
        let session = try await TestModel.engine().session()
        let error = await failure { try await session.respond(to: "hello", options: options) }
        #expect(error?.option != nil)
        // Nothing happened to the session.
        #expect(try await session.messages.isEmpty)
        _ = try await session.respond(to: "hello", options: .greedy(2))
    }

    @Test(arguments: [
        "{ no json", #"{"type": "string", "minLength": 5, "maxLength": 3}"#, #"{"type": "integer", "minimum": 2, "maximum": 1}"#,
        #"{"allOf": [{"type": "string"}, {"type": "integer"}]}"#, #"{"type": "array", "uniqueItems": true}"#, "false",
    ])
    func aSchemaThatIsNoneOrThatNothingSatisfies(schema: String) async throws {
        let session = try await TestModel.engine().session()
        let options = GenerationOptions(jsonSchema: schema)
        guard case .schema? = await failure({ try await session.respond(to: "hello", options: options) }) else {
            Issue.record("not the error expected")
            return
        }
        _ = try await session.respond(to: "hello", options: .greedy(2))
    }

    @Test func aPromptLongerThanTheContext() async throws {
        let session = try await TestModel.engine().session(SessionConfig(overflow: .error))
        let long = String(repeating: "long ", count: 400)
        let error = await failure { try await session.respond(to: long, options: .greedy(2)) }
        guard case .contextOverflow(let needed, contextLength: 256)? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(needed > 256)
        #expect(try await session.messages.isEmpty)
        _ = try await session.respond(to: "hello", options: .greedy(2))
    }

    @Test func anAnswerThatFillsTheContext() async throws {
        let session = try await TestModel.engine().session(SessionConfig(overflow: .stop))
        let answer = try await session.respond(to: "hello", options: .endless)
        #expect(answer.finish == .contextFull)
    }

    @Test func twoAnswersAtOnce() async throws {
        let session = try await TestModel.engine().session()
        let first = session.stream("hello", options: .endless)
        #expect(await failure { try await session.respond(to: "and me?", options: .greedy(2)) } == .sessionBusy)
        #expect(await failure { try await session.messages } == .sessionBusy)
        // The first one goes on as if nothing had happened.
        var pieces = 0
        for try await _ in first {
            pieces += 1
            if pieces == 50 { break }
        }
        #expect(pieces == 50)
    }

    @Test func theLogIsHeard() async throws {
        let lines = Lines()
        try HalfpiLibrary.setLog(.trace) { lines.append($0) }
        _ = try await TestModel.engine().session().respond(to: "hello", options: .greedy(2))
        try HalfpiLibrary.setLog(.error, nil)
        #expect(lines.all.contains { $0.target.hasPrefix("halfpi") && !$0.message.isEmpty })
        #expect(HalfpiLibrary.version.split(separator: ".").count >= 3)
    }

    @Test func everyErrorSaysSomething() {
        let errors: [HalfpiError] = [
            .io(path: "a", detail: "b"), .sessionBusy, .closed, .cancelled, .internal(detail: "c"),
            .contextOverflow(needed: 5, contextLength: 4), .backend(name: "x", available: ["y"]),
        ]
        #expect(errors.allSatisfy { !"\($0)".isEmpty })
        #expect("\(HalfpiError.contextOverflow(needed: 5, contextLength: 4))".contains("5 tokens"))
        #expect(HalfpiError.closed.localizedDescription == HalfpiError.closed.description)
    }
}

private final class Lines: @unchecked Sendable {
    private let lock = NSLock()
    private var lines: [LogRecord] = []

    var all: [LogRecord] { lock.withLock { lines } }

    func append(_ line: LogRecord) {
        lock.withLock { lines.append(line) }
    }
}

extension HalfpiError {
    fileprivate var option: String? {
        if case .invalidOption(let name, _) = self { name } else { nil }
    }
}
