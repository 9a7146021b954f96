#if canImport(FoundationEssentials)
import protocol FoundationEssentials.LocalizedError
#else
import protocol Foundation.LocalizedError
#endif

/// Everything that can go wrong, each case with what is needed to say it to a person or to act on it.
public enum HalfpiError: Error, Sendable, Hashable {
    /// The operating system could not read or write a file.
    case io(path: String, detail: String)
    /// A file is not a model, or is damaged.
    case modelFile(path: String, detail: String)
    /// A file is no archive, a damaged one, or one of another or a larger model than expected. Nothing was written.
    case archive(path: String, detail: String)
    /// A sound model file has something that this version cannot run; `detail` names it and what to do.
    case unsupported(detail: String)
    /// No kernels of that name run on this CPU.
    case backend(name: String, available: [String])
    /// More memory is needed than ``EngineConfig/memoryBudgetBytes``. Nothing was loaded.
    case memoryBudget(neededBytes: UInt64, budgetBytes: UInt64, detail: String)
    /// The operating system refused memory.
    case outOfMemory(bytes: UInt64, detail: String)
    /// A prompt does not fit in the session's context. The conversation is as it was before.
    case contextOverflow(needed: UInt64, contextLength: UInt64)
    /// An option has a value that makes no sense.
    case invalidOption(name: String, detail: String)
    /// A JSON schema is malformed, not supported, or cannot be satisfied.
    case schema(detail: String)
    /// The model's chat template refuses the conversation, or is broken.
    case template(detail: String)
    /// A saved conversation is damaged, or another model's. The session is as it was.
    case savedState(path: String, detail: String)
    /// The session is answering already. Nothing happened to that answer.
    case sessionBusy
    /// The engine or the session was closed.
    case closed
    /// The task was cancelled.
    case cancelled
    /// A callback of the app failed.
    case callback(detail: String)
    /// A mistake in this library. Please report it.
    case `internal`(detail: String)
}

extension HalfpiError: CustomStringConvertible, LocalizedError {
    /// For a person who develops an app: what is wrong and what to do.
    public var description: String {
        switch self {
        case .io(let path, let detail), .modelFile(let path, let detail), .archive(let path, let detail),
            .savedState(let path, let detail):
            "\(path): \(detail)"
        case .memoryBudget(_, _, let detail): detail
        case .unsupported(let detail), .schema(let detail), .template(let detail): detail
        case .backend(let name, let available):
            "there is no backend \(name) here; these are: \(available.joined(separator: ", "))"
        case .outOfMemory(let bytes, let detail): "no memory for \(bytes) bytes: \(detail)"
        case .contextOverflow(let needed, let contextLength):
            "\(needed) tokens do not fit in a context of \(contextLength): shorten the prompt or take a longer context"
        case .invalidOption(let name, let detail): "\(name): \(detail)"
        case .sessionBusy: "the session is busy with an answer: wait for it, cancel it, or use another session"
        case .closed: "the engine or the session was closed"
        case .cancelled: "cancelled"
        case .callback(let detail): "a callback failed: \(detail)"
        case .internal(let detail): "a mistake in halfpi, please report it: \(detail)"
        }
    }

    public var errorDescription: String? { description }
}
