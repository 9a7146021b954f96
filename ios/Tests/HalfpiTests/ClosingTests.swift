import Foundation
import Halfpi
import HalfpiTestSupport
import XCTest

/// The lifetime of engines and sessions. With XCTest, which many apps still use.
final class ClosingTests: XCTestCase {
    func testAClosedSessionRefusesEverything() async throws {
        let engine = try await TestModel.engine()
        let session = try await engine.session()
        await session.close()
        await session.close()
        await assertThrows(.closed) { try await session.respond(to: "hello") }
        await assertThrows(.closed) { try await session.messages }
        await assertThrows(.closed) { try await session.prewarm() }
        // The engine does not mind.
        _ = try await engine.session().respond(to: "hello", options: .greedy(2))
    }

    func testAClosedEngineRefusesEverything() async throws {
        let engine = try await TestModel.engine()
        let session = try await engine.session()
        await engine.close()
        await engine.close()
        await assertThrows(.closed) { try await engine.session() }
        await assertThrows(.closed) { try await engine.tokenCount("hello") }
        await assertThrows(.closed) { try await session.respond(to: "hello") }
    }

    func testClosingEndsAnAnswer() async throws {
        let session = try await TestModel.engine().session()
        let stream = session.stream("hello", options: .endless)
        await session.close()
        var last: GenerationEvent?
        for try await event in stream { last = event }
        guard case .finished(let answer) = last else { return XCTFail("ended with \(String(describing: last))") }
        XCTAssertEqual(answer.finish, .cancelled)
    }

    /// What waits on the session's thread for a paused engine would wait for ever.
    func testClosingEndsAPrewarmingThatIsPaused() async throws {
        let engine = try await TestModel.engine()
        let session = try await engine.session(SessionConfig(system: "Be brief."))
        engine.setPowerMode(.paused)
        let warming = Task { try await session.prewarm() }
        try await Task.sleep(for: .milliseconds(100))
        // So that a failure ends too.
        let rescue = Task {
            try await Task.sleep(for: .seconds(20))
            engine.setPowerMode(.full)
        }
        await session.close()
        XCTAssertEqual(try engine.powerMode, .paused)
        rescue.cancel()
        await assertThrows(.closed) { try await warming.value }
    }

    func testASessionOutlivesTheEngineThatNobodyHolds() async throws {
        let session = try await TestModel.engine().session()
        let answer = try await session.respond(to: "hello", options: .greedy(3))
        XCTAssertEqual(answer.usage.generatedTokens, 3)
    }

    func testAThousandEnginesLeaveNothingBehind() async throws {
        #if os(Linux)
        func live() async throws {
            let engine = try await TestModel.engine()
            let answer = try await engine.session().respond(to: "hello", options: .greedy(4))
            XCTAssertEqual(answer.usage.generatedTokens, 4)
            await engine.close()
        }
        // The allocator's own pools fill up first.
        for _ in 0..<200 { try await live() }
        let before = try residentBytes()
        for _ in 0..<1000 { try await live() }
        let grown = try residentBytes() - before
        print("resident memory grew by \(grown) bytes in 1000 lives")
        XCTAssertLessThan(grown, 1 << 20)
        #else
        throw XCTSkip("how much memory a process has is asked in Linux's way")
        #endif
    }

    private func residentBytes() throws -> Int {
        let pages = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8).split(separator: " ")[1]
        return try XCTUnwrap(Int(pages)) * 4096
    }

    func testProgressReachesTheEnd() async throws {
        let fractions = Fractions()
        _ = try await Engine.load(.path(TestModel.tiny)) { fractions.append($0) }
        XCTAssertEqual(fractions.all.last, 1)
        XCTAssertEqual(fractions.all, fractions.all.sorted())
    }

    private func assertThrows<T>(
        _ expected: HalfpiError,
        line: UInt = #line,
        _ call: () async throws -> T
    ) async {
        do {
            _ = try await call()
            XCTFail("nothing was thrown", line: line)
        } catch {
            XCTAssertEqual(error as? HalfpiError, expected, line: line)
        }
    }
}

private final class Fractions: @unchecked Sendable {
    private let lock = NSLock()
    private var fractions: [Double] = []

    var all: [Double] { lock.withLock { fractions } }

    func append(_ fraction: Double) {
        lock.withLock { fractions.append(fraction) }
    }
}
