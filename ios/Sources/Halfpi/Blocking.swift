import class Foundation.NSLock
import class Foundation.Thread

/// Runs an actor's work on a thread of its own, which lives as long as there is work.
///
/// Calls into the library may block, for seconds where they read a prompt or wait for another session's answer. Swift's
/// shared threads must not: there are as many as cores, and whoever blocks them stops every other task of the app.
/// (Dispatch queues would share their threads with them: on Linux sixteen blocked queues stop everything.)
final class ThreadExecutor: SerialExecutor, @unchecked Sendable {
    private let name: String
    private let lock = NSLock()
    private var jobs: [UnownedJob] = []
    private var isRunning = false

    init(_ name: String) {
        self.name = name
    }

    // No more than this: Swift 6.0's optimizer crashes where closures follow in a function that consumes its argument.
    func enqueue(_ job: consuming ExecutorJob) {
        add(UnownedJob(job))
    }

    private func add(_ job: UnownedJob) {
        let isFirst = lock.withLock {
            jobs.append(job)
            defer { isRunning = true }
            return !isRunning
        }
        guard isFirst else { return }
        let thread = Thread { [self] in
            while let job = next() { job.runSynchronously(on: asUnownedSerialExecutor()) }
        }
        thread.name = name
        thread.start()
    }

    private func next() -> UnownedJob? {
        lock.withLock {
            isRunning = !jobs.isEmpty
            return jobs.isEmpty ? nil : jobs.removeFirst()
        }
    }
}

/// Runs one blocking call that belongs to no engine or session yet.
func blocking<T: Sendable>(_ body: @Sendable () throws -> T) async -> Result<T, HalfpiError> {
    await Worker().run(body)
}

private actor Worker {
    private let executor = ThreadExecutor("halfpi.worker")
    nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    func run<T: Sendable>(_ body: @Sendable () throws -> T) -> Result<T, HalfpiError> {
        do throws(HalfpiError) {
            return .success(try rethrowing(body))
        } catch {
            return .failure(error)
        }
    }
}
