// Not run here, see ../settings.gradle.kts.

plugins {
    alias(libs.plugins.android.application)
}

android {
    namespace = "dev.halfpi.sample"
    compileSdk = 36

    defaultConfig {
        applicationId = "dev.halfpi.sample"
        minSdk = 26
        targetSdk = 36
        versionCode = 1
        versionName = "0.1.0"
    }

    sourceSets.named("main") { kotlin.srcDirs("src/main/kotlin") }

    buildTypes {
        release { isMinifyEnabled = true }
    }

    // A model in the assets must lie there as it is, to be mapped.
    androidResources { noCompress += "gguf" }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
}

dependencies {
    implementation(project(":halfpi"))
    implementation(libs.coroutines.android)
}
