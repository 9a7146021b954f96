internal import HalfpiFFI

// Swift's own Mutex needs iOS 18.
import class Foundation.NSLock

/// Runs a blocking call that says how far it is, and that cancelling the task ends.
func reporting<T: Sendable>(
    _ progress: (@Sendable (Double) -> Void)?,
    _ body: @Sendable (any LoadListener) throws -> T
) async -> Result<T, HalfpiError> {
    let listener = Progress(progress)
    return await withTaskCancellationHandler {
        await blocking { try body(listener) }
    } onCancel: {
        listener.cancel()
    }
}

/// Tells the app how far the work is, and the work whether to go on.
private final class Progress: LoadListener, @unchecked Sendable {
    private let lock = NSLock()
    private var isCancelled = false
    private let report: (@Sendable (Double) -> Void)?

    init(_ report: (@Sendable (Double) -> Void)?) {
        self.report = report
    }

    func cancel() {
        lock.withLock { isCancelled = true }
    }

    func onProgress(fraction: Double) -> Bool {
        report?(fraction)
        return lock.withLock { !isCancelled }
    }
}
