import Foundation
import Halfpi
import HalfpiTestSupport
import Testing

/// Memory, power and saved conversations.
@Suite(.timeLimit(.minutes(1))) struct StateTests {
    private func temporary() -> String {
        FileManager.default.temporaryDirectory.appending(path: UUID().uuidString).path
    }

    @Test func aSavedConversationGoesOn() async throws {
        let engine = try await TestModel.engine()
        let session = try await engine.session()
        _ = try await session.respond(to: "hello", options: .greedy(8))
        let file = temporary()
        defer { try? FileManager.default.removeItem(atPath: file) }
        try await session.save(to: file)
        let next = try await session.respond(to: "and now?", options: .greedy(8))

        let restored = try await engine.session()
        try await restored.restore(from: file)
        let again = try await restored.respond(to: "and now?", options: .greedy(8))
        #expect(again.text == next.text)
        #expect(again.usage.cachedTokens == next.usage.cachedTokens)
    }

    @Test func aDamagedOrForeignStateIsRefused() async throws {
        let session = try await TestModel.engine().session()
        _ = try await session.respond(to: "hello", options: .greedy(8))
        let before = try await session.messages
        let file = temporary()
        defer { try? FileManager.default.removeItem(atPath: file) }
        try await session.save(to: file)
        let whole = try Data(contentsOf: URL(filePath: file))
        try whole.prefix(whole.count / 2).write(to: URL(filePath: file))
        for path in [file, #filePath] {
            guard case .savedState(path, _)? = await failure({ try await session.restore(from: path) }) else {
                Issue.record("not the error expected")
                return
            }
        }
        let other = try await Engine.load(.path(TestModel.toolCaller)).session()
        _ = try await other.respond(to: "hello", options: .greedy(8))
        try await other.save(to: file)
        guard case .savedState(file, let detail)? = await failure({ try await session.restore(from: file) }) else {
            Issue.record("not the error expected")
            return
        }
        #expect(!detail.isEmpty)
        guard case .io? = await failure({ try await session.restore(from: "/nowhere/state") }) else {
            Issue.record("not the error expected")
            return
        }
        #expect(try await session.messages == before)
        _ = try await session.respond(to: "and now?", options: .greedy(2))
    }

    @Test func anAdapterChangesTheAnswers() async throws {
        let config = EngineConfig(threads: 1, adapter: .path(TestModel.adapter))
        let model = ModelSource.path(TestModel.archived)
        let (plain, adapted) = (try await Engine.load(model), try await Engine.load(model, config: config))
        let (before, after) = (try await plain.session(), try await adapted.session())
        let answer = try await before.respond(to: "hello", options: .greedy(8)).text
        #expect(try await after.respond(to: "hello", options: .greedy(8)).text != answer)
        let file = temporary()
        defer { try? FileManager.default.removeItem(atPath: file) }
        try await after.save(to: file)
        guard case .savedState? = await failure({ try await before.restore(from: file) }) else {
            Issue.record("not the error expected")
            return
        }
        try await adapted.session().restore(from: file)
        let other = EngineConfig(adapter: .path(TestModel.toolCaller))
        let error = await failure { try await Engine.load(model, config: other) }
        guard case .modelFile(TestModel.toolCaller, _)? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    @Test func aForkGoesItsOwnWay() async throws {
        let session = try await TestModel.engine().session()
        _ = try await session.respond(to: "hello", options: .greedy(8))
        let fork = try await session.fork()
        let asked = try await fork.respond(to: "and now?", options: .greedy(8))
        #expect(asked.usage.cachedTokens > 0)
        #expect(try await session.messages.count == 2)
        #expect(try await fork.messages.count == 4)
    }

    @Test func aBudgetIsKept() async throws {
        let config = EngineConfig(memoryBudgetBytes: 1000)
        let error = await failure { try await Engine.load(.path(TestModel.tiny), config: config) }
        guard case .memoryBudget(let needed, budgetBytes: 1000, _)? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(needed > 1000)
    }

    @Test func memoryIsReportedAndGivenBack() async throws {
        let engine = try await TestModel.engine()
        let session = try await engine.session()
        let before = try await session.respond(to: "hello", options: .greedy(8))
        let report = try await engine.memory()
        #expect(report.sessions.count == 1)
        #expect(report.sessions.first?.cachedTokens ?? 0 > 0)
        #expect(report.sessionsBytes > 0)

        await engine.trim(.critical)
        #expect(try await engine.memory().sessions.first?.cachedTokens == 0)
        // The conversation is still there, and is read again.
        #expect(try await session.messages.last?.content == before.text)
        #expect(try await session.respond(to: "and now?", options: .greedy(2)).usage.cachedTokens == 0)
    }

    @Test func aPausedAnswerWaits() async throws {
        let engine = try await TestModel.engine()
        engine.setPowerMode(.paused)
        #expect(try engine.powerMode == .paused)
        let session = try await engine.session()
        let answering = Task { try await session.respond(to: "hello", options: .greedy(4)) }
        try await Task.sleep(for: .milliseconds(50))
        #expect(await failure { try await session.messages } == .sessionBusy)
        engine.setPowerMode(.full)
        #expect(try await answering.value.usage.generatedTokens == 4)
    }

    @Test func aPausedAnswerCanBeCancelled() async throws {
        let engine = try await TestModel.engine()
        engine.setPowerMode(.paused)
        let session = try await engine.session()
        let answering = Task { try await session.respond(to: "hello", options: .greedy(4)) }
        try await Task.sleep(for: .milliseconds(20))
        answering.cancel()
        #expect(await failure { try await answering.value } == .cancelled)
        #expect(await eventually { (try? await session.messages) != nil })
    }

    @Test func threadsChange() async throws {
        let engine = try await TestModel.engine(threads: 2)
        try engine.setThreads(1)
        #expect(engine.threads == 1)
        #expect(await failure { try engine.setThreads(0) } != nil)
        #expect(await failure { try engine.setThreads(-1) } != nil)
    }

    /// A model inside another file, as an asset in a package.
    @Test func aModelIsReadFromADescriptor() async throws {
        let model = try Data(contentsOf: URL(filePath: TestModel.tiny))
        let file = temporary()
        defer { try? FileManager.default.removeItem(atPath: file) }
        try (Data(repeating: 7, count: 4096) + model + Data(repeating: 7, count: 100)).write(to: URL(filePath: file))
        let handle = try #require(FileHandle(forReadingAtPath: file))
        let length = UInt64(model.count)
        let engine = try await Engine.load(.fileDescriptor(handle.fileDescriptor, offset: 4096, length: length))
        // The engine has a descriptor of its own.
        try handle.close()
        let answer = try await engine.session().respond(to: "hello", options: .greedy(8))
        let direct = try await TestModel.engine().session().respond(to: "hello", options: .greedy(8))
        #expect(answer.text == direct.text)
    }

    @Test func aDescriptorThatIsClosedOrTooShort() async throws {
        let handle = try #require(FileHandle(forReadingAtPath: TestModel.tiny))
        let descriptor = handle.fileDescriptor
        let tooLong = await failure { try await Engine.load(.fileDescriptor(descriptor, length: 1 << 40)) }
        try handle.close()
        let closed = await failure { try await Engine.load(.fileDescriptor(-1)) }
        guard case .modelFile? = tooLong, case .io? = closed else {
            Issue.record("\(String(describing: tooLong)), \(String(describing: closed))")
            return
        }
    }

    @Test(arguments: [
        (SystemConditions(), PowerMode.full),
        (SystemConditions(heat: .fair), .full),
        (SystemConditions(heat: .serious), .reduced),
        (SystemConditions(isLowPower: true), .reduced),
        (SystemConditions(heat: .critical), .paused),
        (SystemConditions(isInBackground: true), .paused),
    ])
    func theSystemIsHeeded(conditions: SystemConditions, mode: PowerMode) {
        #expect(conditions.powerMode == mode)
    }
}
