import Foundation

/// What progress was told, from 0 to 1.
public final class Parts: @unchecked Sendable {
    private let lock = NSLock()
    private var parts: [Double] = []

    public init() {}

    public var all: [Double] { lock.withLock { parts } }

    public func hear(_ part: Double) {
        lock.withLock { parts.append(part) }
    }
}

/// Cancels work when some of it is done, from inside its progress: the work waits until it is known what to cancel.
public final class Canceller: @unchecked Sendable {
    private let known = DispatchSemaphore(value: 0)
    private let lock = NSLock()
    private var cancel: (() -> Void)?

    public init() {}

    public func cancels(_ cancel: @escaping @Sendable () -> Void) {
        lock.withLock { self.cancel = cancel }
        known.signal()
    }

    public func hear(_ part: Double) {
        guard part > 0.3 else { return }
        known.wait()
        known.signal()
        lock.withLock { cancel }?()
    }
}
