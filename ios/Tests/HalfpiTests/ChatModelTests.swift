import ChatModel
import Foundation
import Halfpi
import HalfpiTestSupport
import Testing

/// The sample app without its views.
@MainActor @Suite(.timeLimit(.minutes(1))) struct ChatModelTests {
    @Test func aQuestionIsAnswered() async throws {
        let chat = ChatModel()
        #expect(chat.phase == .empty)
        chat.send("too early")
        #expect(chat.lines.isEmpty)

        chat.load(.path(TestModel.tiny))
        await chat.settled()
        #expect(chat.phase == .ready)
        chat.send("hello", options: .greedy(10))
        #expect(chat.phase == .answering)
        await chat.settled()
        #expect(chat.phase == .ready)
        #expect(chat.lines.map(\.isFromPerson) == [true, false])
        #expect(chat.lines.last?.text.isEmpty == false)
        #expect(chat.tokensPerSecond != nil)
    }

    @Test func stoppingKeepsWhatWasSaid() async throws {
        let chat = ChatModel()
        chat.load(.path(TestModel.tiny))
        await chat.settled()
        chat.send("hello", options: .endless)
        #expect(await eventually { chat.lines.last?.text.isEmpty == false })
        chat.stop()
        await chat.settled()
        #expect(chat.phase == .ready)
        #expect(chat.lines.last?.text.isEmpty == false)
        #expect(chat.problem == nil)
    }

    @Test func aProblemIsShown() async throws {
        let chat = ChatModel()
        chat.load(.path("/nowhere/model.gguf"))
        await chat.settled()
        #expect(chat.phase == .empty)
        #expect(chat.problem?.contains("/nowhere/model.gguf") == true)
    }
}
