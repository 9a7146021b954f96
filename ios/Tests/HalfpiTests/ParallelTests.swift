import Foundation
import Halfpi
import HalfpiTestSupport
import Testing

@Suite(.timeLimit(.minutes(2))) struct ParallelTests {
    @Test func twentySessionsSayWhatTheySayOneByOne() async throws {
        let engine = try await TestModel.engine(threads: 2)
        let prompts = (0..<20).map { "Question number \($0)" }
        var alone: [String] = []
        for prompt in prompts {
            alone.append(try await engine.session().respond(to: prompt, options: .greedy(30)).text)
        }
        let together = try await withThrowingTaskGroup(of: (Int, String).self) { group in
            for (index, prompt) in prompts.enumerated() {
                group.addTask {
                    let session = try await engine.session()
                    let heard = try await Heard(session.stream(prompt, options: .greedy(30)))
                    return (index, heard.pieces.joined())
                }
            }
            return try await group.reduce(into: [Int: String]()) { $0[$1.0] = $1.1 }
        }
        #expect((0..<20).map { together[$0] } == alone)
        // Otherwise this would compare twenty times the same.
        #expect(Set(alone).count > 1)
    }

    @Test func callsOfOtherTasksGoOnWhileAnEngineWorks() async throws {
        let engine = try await TestModel.engine()
        let busy = try await engine.session()
        let answering = Task { for try await _ in busy.stream("hello", options: .endless) {} }
        // Many more blocked calls than there are cores: prewarming waits for the engine.
        var waiting: [Task<Void, any Error>] = []
        for _ in 0..<40 {
            let session = try await engine.session()
            waiting.append(Task { try await session.prewarm() })
        }
        #expect(try await engine.tokenCount("still here") > 0)
        answering.cancel()
        for task in waiting { try await task.value }
    }
}
