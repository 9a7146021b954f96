// Not compiled on Linux, so not checked by this project's tests beyond its syntax. The policy is: SystemConditions.
#if canImport(Darwin)
import Foundation

#if canImport(UIKit)
import UIKit
#endif

/// Makes an engine do what the system asks for, as long as this object lives: trims on memory warnings, slows down when
/// the device is hot or saves its battery, and pauses in the background.
///
/// ```swift
/// let observer = SystemObserver(engine)
/// ```
@MainActor
public final class SystemObserver {
    private let engine: Engine
    private var conditions = SystemConditions()
    private var tokens: [any NSObjectProtocol] = []

    /// Begins to observe.
    public init(_ engine: Engine) {
        self.engine = engine
        observe(ProcessInfo.thermalStateDidChangeNotification) { $0.readProcessInfo() }
        observe(.NSProcessInfoPowerStateDidChange) { $0.readProcessInfo() }
        #if canImport(UIKit) && !os(watchOS)
        observe(UIApplication.didReceiveMemoryWarningNotification) { $0.trim(.critical) }
        observe(UIApplication.didEnterBackgroundNotification) { observer in
            observer.update { $0.isInBackground = true }
            observer.trim(.moderate)
        }
        observe(UIApplication.willEnterForegroundNotification) { observer in
            observer.update { $0.isInBackground = false }
        }
        #endif
        readProcessInfo()
    }

    deinit {
        for token in tokens { NotificationCenter.default.removeObserver(token) }
    }

    private func observe(_ name: Notification.Name, _ act: @escaping @MainActor (SystemObserver) -> Void) {
        let token = NotificationCenter.default.addObserver(forName: name, object: nil, queue: .main) { [weak self] _ in
            // The queue is the main one, which the compiler does not know.
            MainActor.assumeIsolated {
                if let self { act(self) }
            }
        }
        tokens.append(token)
    }

    private func readProcessInfo() {
        let process = ProcessInfo.processInfo
        update {
            // A later system may have a hotter state than this knows.
            $0.heat = SystemConditions.Heat(rawValue: process.thermalState.rawValue) ?? .critical
            $0.isLowPower = process.isLowPowerModeEnabled
        }
    }

    private func update(_ change: (inout SystemConditions) -> Void) {
        let before = conditions.powerMode
        change(&conditions)
        let mode = conditions.powerMode
        guard mode != before else { return }
        engine.setPowerMode(mode)
    }

    private func trim(_ level: TrimLevel) {
        Task { [engine] in await engine.trim(level) }
    }
}
#endif
