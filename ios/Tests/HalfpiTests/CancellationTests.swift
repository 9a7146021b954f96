import Foundation
import Halfpi
import HalfpiTestSupport
import Testing

/// Each of these asks for an answer that does not end by itself, so it passes only if leaving it ends it.
@Suite(.timeLimit(.minutes(1))) struct CancellationTests {
    /// A session is free again as soon as its answer has ended.
    private func isFree(_ session: Session) async -> Bool {
        await eventually { (try? await session.messages) != nil }
    }

    @Test func leavingTheLoop() async throws {
        let session = try await TestModel.engine().session()
        for try await event in session.stream("hello", options: .endless) {
            if case .text = event { break }
        }
        #expect(await isFree(session))
        // And it is usable.
        #expect(try await session.respond(to: "hello", options: .greedy(4)).usage.generatedTokens == 4)
    }

    @Test func lettingGoOfTheStream() async throws {
        let session = try await TestModel.engine().session()
        do { _ = session.stream("hello", options: .endless) }
        #expect(await isFree(session))
    }

    @Test func cancellingTheTaskThatReads() async throws {
        let session = try await TestModel.engine().session()
        let task = Task {
            var pieces = 0
            for try await _ in session.stream("hello", options: .endless) { pieces += 1 }
            return pieces
        }
        try await Task.sleep(for: .milliseconds(50))
        task.cancel()
        // The loop ends without an error, as it does for every AsyncThrowingStream.
        _ = try await task.value
        #expect(await isFree(session))
    }

    @Test func cancellingATaskThatWaitsForTheAnswer() async throws {
        let session = try await TestModel.engine().session()
        let task = Task { try await session.respond(to: "hello", options: .endless) }
        try await Task.sleep(for: .milliseconds(50))
        task.cancel()
        #expect(await failure { try await task.value } == .cancelled)
        #expect(await isFree(session))
    }

    @Test func whatWasSaidUntilThenStays() async throws {
        let session = try await TestModel.engine().session()
        var heard = ""
        for try await piece in session.stream("hello", options: .endless).text {
            heard += piece
            if heard.count > 20 { break }
        }
        #expect(await isFree(session))
        let said = try await session.messages.last
        #expect(said?.role == .assistant)
        #expect(said?.content.hasPrefix(heard) == true)
    }

    @Test func cancellingALoad() async throws {
        let task = Task {
            // Cancelled before it begins, so that the outcome does not hang on the speed of this machine.
            withUnsafeCurrentTask { $0?.cancel() }
            return try await Engine.load(.path(TestModel.tiny))
        }
        #expect(await failure { try await task.value } == .cancelled)
    }
}
