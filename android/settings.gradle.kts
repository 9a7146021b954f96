// The build of an Android developer: `cargo xtask package-android` first, which makes the bindings and the native
// libraries, then `gradle :halfpi:assembleRelease` for the AAR or `gradle :sample:installDebug`.
// Not run here: there is no Android SDK on the machine that this is developed on. pom.xml builds the same sources.

pluginManagement {
    repositories {
        google()
        mavenCentral()
        gradlePluginPortal()
    }
}

dependencyResolutionManagement {
    repositoriesMode = RepositoriesMode.FAIL_ON_PROJECT_REPOS
    repositories {
        google()
        mavenCentral()
    }
}

rootProject.name = "halfpi-android"
include(":halfpi", ":sample")
