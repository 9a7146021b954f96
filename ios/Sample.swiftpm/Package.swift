// swift-tools-version: 6.0

// The sample app, for Xcode or Swift Playgrounds: open this directory. Run `cargo xtask package-ios` first.
// Not built by this project's tests, which have no Mac: they run ChatModel and check the syntax of the rest.

import AppleProductTypes
import PackageDescription

let package = Package(
    name: "HalfpiChat",
    platforms: [.iOS(.v17)],
    products: [
        .iOSApplication(
            name: "Halfpi Chat",
            targets: ["App"],
            bundleIdentifier: "dev.halfpi.chat",
            displayVersion: "1.0",
            bundleVersion: "1",
            appIcon: .placeholder(icon: .chatMessage),
            accentColor: .presetColor(.orange),
            supportedDeviceFamilies: [.phone, .pad],
            supportedInterfaceOrientations: [.portrait, .landscapeLeft, .landscapeRight]
        )
    ],
    dependencies: [.package(path: "..")],
    targets: [
        .executableTarget(name: "App", dependencies: ["ChatModel"], path: "App"),
        .target(name: "ChatModel", dependencies: [.product(name: "Halfpi", package: "ios")], path: "ChatModel"),
    ]
)
