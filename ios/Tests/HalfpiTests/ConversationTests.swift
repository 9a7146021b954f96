import Foundation
import Halfpi
import HalfpiTestSupport
import XCTest

/// A real conversation with SmolLM2-135M-Instruct, whose file HALFPI_TEST_MODEL names.
final class ConversationTests: XCTestCase {
    func testAConversationOfThreeTurnsIsStreamed() async throws {
        guard let path = TestModel.chat else { throw XCTSkip("HALFPI_TEST_MODEL is not set: no conversation is held") }
        let engine = try await Engine.load(.path(path))
        let session = try await engine.session(SessionConfig(system: "You are a helpful assistant."))

        let capital = try await ask("What is the capital of France?", of: session)
        XCTAssertTrue(capital.text.contains("Paris"), capital.text)
        XCTAssertEqual(capital.usage.cachedTokens, 0)

        // Only the conversation so far says which country is meant.
        let language = try await ask("Which language do people speak there?", of: session)
        XCTAssertTrue(language.text.contains("French"), language.text)
        XCTAssertGreaterThanOrEqual(language.usage.cachedTokens, capital.usage.promptTokens)

        let third = try await ask("Thank you!", of: session)
        XCTAssertFalse(third.text.isEmpty)
        XCTAssertLessThan(third.usage.prefillTokens, 20)

        let roles = try await session.messages.map(\.role)
        XCTAssertEqual(roles, [.system, .user, .assistant, .user, .assistant, .user, .assistant])
        await engine.close()
    }

    private func ask(_ question: String, of session: Session) async throws -> Answer {
        let heard = try await Heard(session.stream(question, options: .greedy(48)))
        let answer = try XCTUnwrap(heard.answers.first)
        XCTAssertEqual(heard.pieces.joined(), answer.text)
        XCTAssertGreaterThan(heard.pieces.count, 2)
        print("> \(question)\n\(answer.text)")
        return answer
    }
}
