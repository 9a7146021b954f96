/// What the system asks of an app that computes much, and what an engine does about it.
///
/// This is the policy alone, without any of Apple's frameworks; ``SystemObserver`` applies it.
public struct SystemConditions: Sendable, Hashable {
    /// How hot the device is: the cases of `ProcessInfo.ThermalState`.
    public enum Heat: Int, Sendable, Comparable {
        case nominal, fair, serious, critical

        public static func < (left: Heat, right: Heat) -> Bool { left.rawValue < right.rawValue }
    }

    /// How hot the device is.
    public var heat: Heat
    /// Whether the person has switched on the low power mode.
    public var isLowPower: Bool
    /// Whether the app is in the background, where the system ends an app that computes for long.
    public var isInBackground: Bool

    public init(heat: Heat = .nominal, isLowPower: Bool = false, isInBackground: Bool = false) {
        self.heat = heat
        self.isLowPower = isLowPower
        self.isInBackground = isInBackground
    }

    /// Pauses in the background and where the device is about to protect itself; slows down when it is hot or saves
    /// its battery.
    public var powerMode: PowerMode {
        if isInBackground || heat == .critical { return .paused }
        return heat >= .serious || isLowPower ? .reduced : .full
    }
}
