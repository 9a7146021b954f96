// Not run here, see settings.gradle.kts.

plugins {
    alias(libs.plugins.android.library)
    `maven-publish`
}

group = "dev.halfpi"
version = "0.1.0"

android {
    namespace = "dev.halfpi"
    compileSdk = 36

    defaultConfig {
        // java.nio.file, and everything that ships with 64 bits and is not forgotten.
        minSdk = 26
        consumerProguardFiles("consumer-rules.pro")
        ndk { abiFilters += listOf("arm64-v8a", "x86_64") }
    }

    sourceSets.named("main") {
        kotlin.srcDirs("src/main/kotlin", "generated/kotlin")
        jniLibs.srcDirs("generated/jniLibs")
    }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }

    publishing {
        singleVariant("release") { withSourcesJar() }
    }
}

dependencies {
    api(libs.coroutines.core)
    // The AAR brings JNA's own native library for every ABI.
    implementation(variantOf(libs.jna) { artifactType("aar") })
}

publishing {
    publications {
        register<MavenPublication>("release") {
            artifactId = "halfpi"
            afterEvaluate { from(components["release"]) }
            pom {
                name = "halfpi"
                description = "Runs a chat model on the device"
                licenses {
                    license {
                        name = "MIT OR Apache-2.0"
                    }
                }
            }
        }
    }
}
