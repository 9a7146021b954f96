import ChatModel
import Halfpi
import SwiftUI
import UniformTypeIdentifiers

struct ChatView: View {
    let chat: ChatModel
    @State private var draft = ""
    @State private var isChoosing = false

    var body: some View {
        NavigationStack {
            ScrollViewReader { scroll in
                ScrollView {
                    LazyVStack(spacing: 12) {
                        ForEach(chat.lines) { Bubble(line: $0).id($0.id) }
                    }
                    .padding()
                }
                .onChange(of: chat.lines.last?.text) {
                    if let last = chat.lines.last { scroll.scrollTo(last.id, anchor: .bottom) }
                }
            }
            .safeAreaInset(edge: .bottom) { controls }
            .navigationTitle("Halfpi")
            .navigationBarTitleDisplayMode(.inline)
            .toolbar {
                Button("Choose a model", systemImage: "folder") { isChoosing = true }
            }
        }
        .fileImporter(isPresented: $isChoosing, allowedContentTypes: [.data]) { result in
            if case .success(let url) = result { open(url) }
        }
    }

    @ViewBuilder private var controls: some View {
        VStack(alignment: .leading, spacing: 6) {
            if let problem = chat.problem {
                Text(problem).font(.footnote).foregroundStyle(.red)
            }
            switch chat.phase {
            case .empty:
                Text("Choose a GGUF file to begin.").foregroundStyle(.secondary)
            case .loading(let fraction):
                ProgressView("Loading", value: fraction)
            case .ready, .answering:
                question
            }
        }
        .padding()
        .background(.bar)
    }

    private var question: some View {
        HStack {
            TextField("Ask something", text: $draft, axis: .vertical)
                .textFieldStyle(.roundedBorder)
                .onSubmit(send)
            if chat.phase == .answering {
                Button("Stop", systemImage: "stop.circle.fill") { chat.stop() }
            } else {
                Button("Send", systemImage: "arrow.up.circle.fill", action: send).disabled(draft.isEmpty)
            }
        }
        .labelStyle(.iconOnly)
        .font(.title2)
        .overlay(alignment: .topTrailing) {
            if let speed = chat.tokensPerSecond {
                Text("\(speed, format: .number.precision(.fractionLength(0))) tokens/s")
                    .font(.caption2)
                    .foregroundStyle(.secondary)
                    .offset(y: -16)
            }
        }
    }

    private func send() {
        chat.send(draft)
        draft = ""
    }

    private func open(_ url: URL) {
        // A file of another app may be opened only between these two calls. Once it is mapped it stays readable.
        let isScoped = url.startAccessingSecurityScopedResource()
        chat.load(.path(url.path))
        Task {
            await chat.settled()
            if isScoped { url.stopAccessingSecurityScopedResource() }
        }
    }
}

private struct Bubble: View {
    let line: ChatModel.Line

    var body: some View {
        Text(line.text.isEmpty ? "…" : line.text)
            .textSelection(.enabled)
            .padding(10)
            .background(line.isFromPerson ? Color.accentColor.opacity(0.2) : Color.secondary.opacity(0.15))
            .clipShape(.rect(cornerRadius: 14))
            .frame(maxWidth: .infinity, alignment: line.isFromPerson ? .trailing : .leading)
    }
}
