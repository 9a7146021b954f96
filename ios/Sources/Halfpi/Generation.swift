internal import HalfpiFFI

/// What comes out of a model while it answers.
public enum GenerationEvent: Sendable, Hashable {
    /// A piece of the answer: whole characters, never half of one.
    case text(String)
    /// A piece of what the model thinks before it answers.
    case thinking(String)
    /// The model calls a tool.
    case toolCall(ToolCall)
    /// The answer is complete. Always the last event of a stream that did not fail.
    case finished(Answer)
}

/// An answer as it is generated.
///
/// Leaving it cancels the generation within one token: when the task that reads is cancelled, or when nobody holds the
/// stream any more, as after a `break` out of `for try await … in session.stream(…)`. Reading slowly loses nothing and
/// does not slow down the model: what was not read yet waits. Errors are ``HalfpiError``.
///
/// When the task that reads is cancelled the stream ends without an error and without ``GenerationEvent/finished(_:)``,
/// as every `AsyncThrowingStream` does.
public typealias GenerationStream = AsyncThrowingStream<GenerationEvent, any Error>

extension AsyncThrowingStream where Element == GenerationEvent, Failure == any Error {
    /// Only the pieces of the answer's text.
    public var text: AsyncCompactMapSequence<Self, String> {
        compactMap { event in
            if case .text(let piece) = event { piece } else { nil }
        }
    }

    /// Reads the stream to its end.
    ///
    /// - Throws: ``HalfpiError``; ``HalfpiError/cancelled`` if this task was cancelled.
    func answer() async throws(HalfpiError) -> Answer {
        do {
            for try await event in self {
                if case .finished(let answer) = event { return answer }
            }
        } catch {
            throw HalfpiError(error)
        }
        throw .cancelled
    }
}

/// The stream of the generation that `start` starts with a listener.
func stream(_ start: (any GenerationListener) throws -> HalfpiFFI.Generation) -> GenerationStream {
    GenerationStream(bufferingPolicy: .unbounded) { continuation in
        do {
            let generation = try start(StreamListener(continuation))
            // Until here nobody else has the stream, so it cannot have been left yet. The closure keeps the generation
            // alive, which dropping would cancel; the stream lets go of it when it ends.
            continuation.onTermination = { _ in generation.cancel() }
        } catch {
            continuation.finish(throwing: HalfpiError(error))
        }
    }
}

/// Passes what the engine's thread says into a stream. Nothing here blocks that thread.
private final class StreamListener: GenerationListener {
    private let continuation: GenerationStream.Continuation

    init(_ continuation: GenerationStream.Continuation) {
        self.continuation = continuation
    }

    func onText(text: String) {
        continuation.yield(.text(text))
    }

    func onThinking(text: String) {
        continuation.yield(.thinking(text))
    }

    func onToolCall(call: HalfpiFFI.ToolCall) {
        continuation.yield(.toolCall(ToolCall(call)))
    }

    func onFinished(answer: HalfpiFFI.Answer) {
        continuation.yield(.finished(Answer(answer)))
        continuation.finish()
    }

    func onFailed(error: HalfpiFFI.HalfpiError) {
        continuation.finish(throwing: HalfpiError(error))
    }
}
