import Halfpi
import Observation

/// What the app shows and does, without a view: a model is loaded once, then one question at a time is answered.
@MainActor @Observable
public final class ChatModel {
    /// Where the app is.
    public enum Phase: Equatable {
        /// No model was chosen.
        case empty
        /// A model is being loaded; how far, from 0 to 1.
        case loading(Double)
        /// A question can be asked.
        case ready
        /// The model answers.
        case answering
    }

    /// One bubble.
    public struct Line: Identifiable, Equatable {
        public let id: Int
        public let isFromPerson: Bool
        public fileprivate(set) var text: String
    }

    public private(set) var phase = Phase.empty
    public private(set) var lines: [Line] = []
    /// What went wrong last, to be shown until something works again.
    public private(set) var problem: String?
    /// Tokens of the last answer per second.
    public private(set) var tokensPerSecond: Double?

    public private(set) var engine: Engine?
    private var session: Session?
    private var work: Task<Void, Never>?

    public init() {}

    /// Loads a model and begins a conversation with it.
    public func load(_ source: ModelSource, config: EngineConfig = EngineConfig()) {
        stop()
        phase = .loading(0)
        work = Task {
            do {
                let engine = try await Engine.load(source, config: config) { fraction in
                    Task { @MainActor in self.loaded(fraction) }
                }
                session = try await engine.session(SessionConfig(system: "You are a helpful assistant."))
                self.engine = engine
                lines = []
                problem = nil
                phase = .ready
            } catch {
                fail(error)
            }
        }
    }

    /// Asks a question; does nothing unless one can be asked.
    public func send(_ question: String, options: GenerationOptions = GenerationOptions()) {
        guard phase == .ready, let session, !question.isEmpty else { return }
        add(question, isFromPerson: true)
        let answer = add("", isFromPerson: false)
        phase = .answering
        work = Task {
            do {
                for try await event in session.stream(question, options: options) {
                    switch event {
                    case .text(let piece): lines[answer].text += piece
                    case .finished(let whole): tokensPerSecond = whole.usage.tokensPerSecond
                    case .thinking, .toolCall: break
                    }
                }
                problem = nil
                phase = .ready
            } catch {
                fail(error)
            }
        }
    }

    /// Ends the answer or the loading that is going on. What was said until then stays.
    public func stop() {
        work?.cancel()
    }

    /// Waits until nothing is going on.
    public func settled() async {
        await work?.value
    }

    private func loaded(_ fraction: Double) {
        if case .loading = phase { phase = .loading(fraction) }
    }

    private func fail(_ error: any Error) {
        problem = "\(error)"
        phase = session == nil ? .empty : .ready
    }

    @discardableResult
    private func add(_ text: String, isFromPerson: Bool) -> Int {
        lines.append(Line(id: lines.count, isFromPerson: isFromPerson, text: text))
        return lines.count - 1
    }
}
