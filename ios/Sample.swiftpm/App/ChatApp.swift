import ChatModel
import Halfpi
import SwiftUI

@main
struct ChatApp: App {
    @State private var chat = ChatModel()
    @State private var observer: SystemObserver?

    var body: some Scene {
        WindowGroup {
            ChatView(chat: chat)
                .task {
                    // A model that the app brings along is used where it lies in the bundle.
                    if let path = Bundle.main.path(forResource: "model", ofType: "gguf") { chat.load(.path(path)) }
                }
                .onChange(of: chat.phase) {
                    // From now on memory warnings, heat and the background reach the engine.
                    if observer == nil, let engine = chat.engine { observer = SystemObserver(engine) }
                }
        }
    }
}
