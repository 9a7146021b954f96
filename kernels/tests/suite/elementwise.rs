//! Norms, residual additions and gates: every backend gives the scalar one's bits.

use crate::common::{Rng, assert_same, backends};
use halfpi_kernels::Backend;
use halfpi_kernels::ops::{OpError, add, relu2_glu, rms_norm, swiglu};

type InPlace = fn(Backend, &mut [f32], &[f32]) -> Result<(), OpError>;

const IN_PLACE: [(&str, InPlace); 3] = [("add", add), ("swiglu", swiglu), ("relu2_glu", relu2_glu)];

fn check(x: &[f32], y: &[f32]) {
    for (name, op) in IN_PLACE {
        let run = |backend: Backend| {
            let mut x = x.to_vec();
            op(backend, &mut x, y).unwrap();
            x
        };
        let expected = run(Backend::scalar());
        for backend in backends() {
            assert_same(&expected, &run(backend), || {
                format!("{}, {name} of {}", backend.name(), x.len())
            });
        }
    }
}

#[test]
fn gates_of_every_length() {
    let mut rng = Rng::new(20);
    for len in (0..=70).chain([576, 1001, 1536]) {
        let (x, y) = (rng.floats(len), rng.floats(len));
        check(&x, &y);
    }
}

/// All magnitudes of floats, the exponential's whole range close together, and what is not a number.
#[test]
fn gates_of_every_float() {
    let every: Vec<f32> = (0..=u32::MAX / 4099).map(|i| f32::from_bits(i * 4099)).collect();
    check(&every, &vec![1.0; every.len()]);
    let range: Vec<f32> = (-400_000..400_000).map(|i| i as f32 / 4000.0).collect();
    check(&range, &vec![1.0; range.len()]);
    let specials = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        0.0,
        -0.0,
        f32::MAX,
        f32::MIN,
        1e-45,
    ];
    for special in specials {
        check(&specials, &[special; 8]);
        check(&specials.repeat(3), &[special; 24]);
    }
}

#[test]
fn norms() {
    let mut rng = Rng::new(21);
    let special = [f32::NAN, f32::INFINITY, f32::MAX, 1e-30];
    for len in (1..=70).chain([576, 1001, 2048]) {
        for rows in 1..=3 {
            let mut x = rng.floats(rows * len);
            if len % 10 == 0 {
                x[len / 2] = special[len / 10 % 4];
            }
            let weight = rng.floats(len);
            let run = |backend: Backend| {
                let mut out = vec![f32::NAN; x.len()];
                rms_norm(backend, &x, &weight, 1e-5, &mut out).unwrap();
                out
            };
            let expected = run(Backend::scalar());
            for backend in backends() {
                assert_same(&expected, &run(backend), || {
                    format!("{}, {rows} rows of {len}", backend.name())
                });
            }
        }
    }
}

#[test]
fn backends_have_names() {
    let available: Vec<_> = Backend::available().collect();
    assert_eq!(available.first(), Some(&Backend::scalar()), "the slowest comes first");
    assert_eq!(available.last(), Some(&Backend::detect()), "the fastest is chosen");
    for backend in &available {
        assert_eq!(Backend::from_name(backend.name()), Some(*backend));
        assert_eq!(format!("{backend:?}"), format!("Backend({:?})", backend.name()));
        assert_eq!(
            available.iter().filter(|other| other.name() == backend.name()).count(),
            1
        );
    }
    assert_eq!(Backend::from_name("abacus"), None);
}
