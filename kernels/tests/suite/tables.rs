//! The tables against the numbers that they stand for.

use halfpi_kernels::format::tables::{PHI, PHI_ADDITIVE, PHI5, PHI5_ADDITIVE};

fn phi(power: i32) -> f64 {
    ((1.0 + 5f64.sqrt()) / 2.0).powi(power)
}

#[test]
fn phi_is_a_run_of_fibonacci_numbers_close_to_powers_of_phi() {
    for i in 2..8 {
        assert_eq!(PHI[i], PHI[i - 1] + PHI[i - 2]);
    }
    for i in 0..8 {
        assert_eq!(PHI[i + 8], -PHI[i]);
        // Binet's formula: the n-th Fibonacci number is φⁿ/√5, nearly.
        let ratio = f64::from(PHI[i]) / (phi(i as i32 + 4) / 5f64.sqrt());
        assert!((ratio - 1.0).abs() < 0.022, "{ratio}");
    }
}

#[test]
fn phi_additive_is_made_of_sums_of_two_powers() {
    // Powers and signs of the second term; 0 for none.
    let terms = [
        (-1.0, 3, 1.0, -2),
        (-1.0, 2, -1.0, -2),
        (-1.0, 2, 1.0, -3),
        (-1.0, 1, -1.0, -3),
        (-1.0, 0, -1.0, -2),
        (-1.0, 0, 1.0, -8),
        (-1.0, -1, 1.0, -8),
        (-1.0, -3, -1.0, -8),
        (1.0, -6, 0.0, 0),
        (1.0, -2, 0.0, 0),
        (1.0, -1, 1.0, -5),
        (1.0, 0, 1.0, -6),
        (1.0, 1, -1.0, -4),
        (1.0, 1, 1.0, -2),
        (1.0, 2, -1.0, -4),
        (1.0, 2, 1.0, -1),
    ];
    let value = |(a, p, b, q)| a * phi(p) + b * phi(q);
    for (entry, term) in PHI_ADDITIVE.iter().zip(terms) {
        let expected = (127.0 * value(term) / (phi(3) - phi(-2))).round();
        assert_eq!(f64::from(*entry), expected, "{term:?}");
    }
}

#[test]
fn phi5_additive_is_made_of_sums_of_two_powers() {
    // Powers of both terms, and the sign of the second.
    let terms = [
        (-5, 1.0, -9),
        (-3, 1.0, -5),
        (-2, 1.0, -4),
        (-1, 1.0, -4),
        (0, -1.0, -8),
        (0, 1.0, -3),
        (1, -1.0, -4),
        (1, 1.0, -4),
        (1, 1.0, -2),
        (1, 1.0, -1),
        (2, -1.0, -4),
        (2, 1.0, -5),
        (2, 1.0, -2),
        (2, 1.0, -1),
        (2, 1.0, 0),
        (3, -1.0, -3),
    ];
    for (i, (p, sign, q)) in terms.into_iter().enumerate() {
        let expected = (127.0 * (phi(p) + sign * phi(q)) / (phi(3) - phi(-3))).round();
        assert_eq!(f64::from(PHI5_ADDITIVE[i]), expected, "{p} {q}");
        assert_eq!(PHI5_ADDITIVE[i + 16], -PHI5_ADDITIVE[i]);
    }
}

#[test]
fn phi5_is_phi_and_root_phi_times_it() {
    let root = phi(1).sqrt();
    for i in 0..8 {
        assert_eq!(PHI5[2 * i], PHI[i]);
        assert_eq!(f64::from(PHI5[2 * i + 1]), (root * f64::from(PHI[i])).round());
    }
    for i in 0..16 {
        assert_eq!(PHI5[i + 16], -PHI5[i]);
    }
}
