//! Random weights of known densities.

/// How weights are spread, with standard deviation 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Density {
    Gauss,
    Laplace,
}

impl Density {
    /// The density at `x`.
    pub fn at(self, x: f64) -> f64 {
        match self {
            Density::Gauss => (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt(),
            Density::Laplace => (-x.abs() * 2f64.sqrt()).exp() / 2f64.sqrt(),
        }
    }
}

/// Uniform numbers between 0 and 1 (SplitMix64, Steele, Lea and Flood 2014).
pub fn uniform(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((z ^ (z >> 31)) >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }
}

/// Independent weights with the standard deviation 0.05.
pub fn random(density: Density, count: usize, seed: u64) -> Vec<f32> {
    let mut next = uniform(seed);
    let mut weight = || match density {
        Density::Gauss => (-2.0 * next().ln()).sqrt() * (std::f64::consts::TAU * next()).cos(),
        Density::Laplace => (next() / next()).ln() / 2f64.sqrt(),
    };
    (0..count).map(|_| (0.05 * weight()) as f32).collect()
}
