// swift-tools-version: 6.0

import PackageDescription

// The C functions of the Rust library: from the XCFramework that `cargo xtask package-ios` makes, or on Linux from the
// shared library that cargo builds, which the linker has to be told about (`cargo xtask test swift` does).
#if os(Linux)
let library = Target.systemLibrary(name: "CHalfpi")
// Stands in for Apple's framework.
let standIns = [Target.target(name: "FoundationModels", path: "Tests/FoundationModels")]
let foundationModels: [Target.Dependency] = ["FoundationModels"]
#else
let library = Target.binaryTarget(name: "CHalfpi", path: "CHalfpi.xcframework")
let standIns: [Target] = []
let foundationModels: [Target.Dependency] = []
#endif

let package = Package(
    name: "Halfpi",
    platforms: [.iOS(.v17), .macOS(.v14)],
    products: [
        .library(name: "Halfpi", targets: ["Halfpi"]),
        // For apps that use the system's LanguageModelSession.
        .library(name: "HalfpiFoundationModels", targets: ["HalfpiFoundationModels"]),
    ],
    targets: [
        library,
        // Written by uniffi; nobody but Halfpi uses it.
        .target(name: "HalfpiFFI", dependencies: ["CHalfpi"]),
        .target(name: "Halfpi", dependencies: ["HalfpiFFI"]),
        .target(name: "HalfpiFoundationModels", dependencies: ["Halfpi"] + foundationModels),

        // The sample app's logic, which needs no view.
        .target(name: "ChatModel", dependencies: ["Halfpi"], path: "Sample.swiftpm/ChatModel"),
        .executableTarget(name: "Overhead", dependencies: ["Halfpi"], path: "Benchmarks/Overhead"),
        .target(name: "HalfpiTestSupport", dependencies: ["Halfpi"], path: "Tests/HalfpiTestSupport"),
        .testTarget(name: "HalfpiTests", dependencies: ["Halfpi", "HalfpiFFI", "ChatModel", "HalfpiTestSupport"]),
    ] + standIns
)

#if os(Linux)
package.targets.append(
    .testTarget(
        name: "HalfpiFoundationModelsTests",
        dependencies: ["HalfpiFoundationModels", "FoundationModels", "HalfpiTestSupport"]
    )
)
#endif
