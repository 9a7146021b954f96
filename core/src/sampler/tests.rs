use super::*;

fn off() -> SamplerOptions {
    SamplerOptions {
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repetition_penalty: 1.0,
        frequency_penalty: 0.0,
        presence_penalty: 0.0,
        penalty_last_n: 64,
        seed: Some(7),
    }
}

fn random_logits(rng: &mut Xoshiro256, count: usize) -> Vec<f32> {
    // Rounded, so that equal logits occur.
    (0..count)
        .map(|_| ((rng.next_f64() * 16.0 - 8.0) * 4.0).round() as f32 / 4.0)
        .collect()
}

/// The probabilities as the papers define them: sorted whole, in f64, one stage after the other.
fn reference(options: &SamplerOptions, logits: &[f32]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
    if options.top_k > 0 {
        order.truncate(options.top_k as usize);
    }
    let softmax = |order: &[usize], temperature: f64| -> Vec<f64> {
        let max = f64::from(logits[order[0]]);
        let weights: Vec<f64> = order
            .iter()
            .map(|&i| ((f64::from(logits[i]) - max) / temperature).exp())
            .collect();
        let sum: f64 = weights.iter().sum();
        weights.iter().map(|weight| weight / sum).collect()
    };
    let mut mass = 0.0;
    let probabilities = softmax(&order, 1.0);
    let kept = probabilities.iter().take_while(|&&p| {
        let wanted = mass < f64::from(options.top_p);
        mass += p;
        wanted
    });
    order.truncate(kept.count());
    let probabilities = softmax(&order, 1.0);
    order.truncate(
        probabilities
            .iter()
            .filter(|&&p| p >= f64::from(options.min_p) * probabilities[0])
            .count(),
    );
    let mut all = vec![0.0; logits.len()];
    for (&i, p) in order.iter().zip(softmax(&order, f64::from(options.temperature))) {
        all[i] = p;
    }
    all
}

/// Pearson's statistic of many draws against the exact distribution, and nothing outside its support.
fn check_distribution(options: SamplerOptions, logits: &[f32]) {
    const DRAWS: usize = 20_000;
    let expected = reference(&options, logits);
    let mut sampler = Sampler::new(options.clone(), logits.len()).unwrap();
    let mut counts = vec![0usize; logits.len()];
    for _ in 0..DRAWS {
        counts[sampler.sample(&mut logits.to_vec()) as usize] += 1;
    }
    let (mut statistic, mut cells) = (0.0, 0usize);
    for (&count, &p) in counts.iter().zip(&expected) {
        assert!(
            p > 0.0 || count == 0,
            "a token outside the support was chosen: {options:?}"
        );
        let mean = p * DRAWS as f64;
        if mean >= 5.0 {
            statistic += (count as f64 - mean).powi(2) / mean;
            cells += 1;
        }
    }
    // Mean of chi-square is its degrees of freedom, variance twice that: five deviations above.
    let freedom = cells.saturating_sub(1) as f64;
    assert!(
        statistic <= freedom + 5.0 * (2.0 * freedom).sqrt() + 1e-9,
        "{statistic} of {freedom}: {options:?}"
    );
}

#[test]
fn draws_follow_the_distribution() {
    let mut rng = Xoshiro256::new(1);
    for round in 0..3 {
        let logits = random_logits(&mut rng, 60);
        let seed = Some(round);
        for options in [
            off(),
            SamplerOptions {
                temperature: 0.5,
                ..off()
            },
            SamplerOptions {
                temperature: 2.0,
                ..off()
            },
            SamplerOptions { top_k: 5, ..off() },
            SamplerOptions { top_p: 0.7, ..off() },
            SamplerOptions { min_p: 0.2, ..off() },
            SamplerOptions {
                top_k: 20,
                top_p: 0.8,
                min_p: 0.1,
                temperature: 0.8,
                ..off()
            },
            SamplerOptions {
                top_k: 1000,
                top_p: 0.999,
                ..off()
            },
        ] {
            check_distribution(SamplerOptions { seed, ..options }, &logits);
        }
    }
}

/// What remains after top-k, top-p and min-p, on a vocabulary large enough for the partial selections to work.
#[test]
fn support_equals_a_full_sort() {
    let mut rng = Xoshiro256::new(2);
    for round in 0..200u64 {
        let logits = random_logits(&mut rng, 3000);
        let options = SamplerOptions {
            top_k: [0, 1, 7, 40, 500, 2999, 3000, 4000][rng.next_u64() as usize % 8],
            // Not a probability that rounded logits can sum to exactly.
            top_p: [0.1234, 0.5678, 0.9012, 0.9987, 1.0][rng.next_u64() as usize % 5],
            min_p: [0.0, 0.0511, 0.3011][rng.next_u64() as usize % 3],
            ..off()
        };
        let mut sampler = Sampler::new(options.clone(), logits.len()).unwrap();
        sampler.select_top_k(&logits);
        sampler.keep_probable();
        let mut ours: Vec<u32> = sampler.candidates.iter().map(|candidate| candidate.id).collect();
        ours.sort_unstable();
        let expected = reference(&options, &logits);
        let expected: Vec<u32> = (0..3000).filter(|&id| expected[id as usize] > 0.0).collect();
        assert_eq!(ours, expected, "round {round}: {options:?}");
    }
}

#[test]
fn greedy_takes_the_first_best() {
    let mut sampler = Sampler::new(SamplerOptions::greedy(), 5).unwrap();
    assert_eq!(sampler.sample(&mut [1.0, 3.0, 2.0, 3.0, -1.0]), 1);
    assert_eq!(
        sampler.sample(&mut [f32::NAN, -5.0, f32::NEG_INFINITY, -6.0, f32::NAN]),
        1
    );
    assert_eq!(sampler.sample(&mut [0.0, f32::INFINITY, 9.0, f32::INFINITY, 1.0]), 1);
}

#[test]
fn hostile_logits_do_not_panic() {
    let values = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MAX,
        f32::MIN,
        0.0,
        -0.0,
        1e-40,
    ];
    let mut rng = Xoshiro256::new(3);
    for round in 0..2000u64 {
        let mut logits: Vec<f32> = (0..20)
            .map(|_| values[rng.next_u64() as usize % values.len()])
            .collect();
        let mut sampler = Sampler::new(
            SamplerOptions {
                temperature: [0.0, 1e-38, 1.0, 1e30][rng.next_u64() as usize % 4],
                top_k: (round % 25) as u32,
                top_p: [1e-30, 0.5, 1.0][round as usize % 3],
                min_p: [0.0, 0.5, 1.0][round as usize % 3],
                repetition_penalty: 1e30,
                frequency_penalty: -1e38,
                seed: Some(round),
                ..off()
            },
            20,
        )
        .unwrap();
        for id in [0, 1, 1, 19, u32::MAX] {
            sampler.accept(id);
        }
        assert!(sampler.sample(&mut logits) < 20);
    }
    let mut sampler = Sampler::new(SamplerOptions::default(), 4).unwrap();
    assert_eq!(sampler.sample(&mut [f32::NAN; 4]), 0);
    assert_eq!(sampler.sample(&mut [f32::NEG_INFINITY; 4]), 0);
    assert_eq!(sampler.sample(&mut []), 0);
    assert!(sampler.sample(&mut [1.0; 9]) < 4);
}

/// An impossible token is not chosen even where every weight underflows around it.
#[test]
fn impossible_tokens_stay_impossible() {
    let mut sampler = Sampler::new(
        SamplerOptions {
            temperature: 1e-6,
            ..off()
        },
        3,
    )
    .unwrap();
    for _ in 0..1000 {
        assert_eq!(sampler.sample(&mut [f32::NEG_INFINITY, -50.0, f32::NAN]), 1);
    }
}

#[test]
fn penalties_are_the_published_ones() {
    let options = SamplerOptions {
        repetition_penalty: 2.0,
        frequency_penalty: 0.25,
        presence_penalty: 0.5,
        ..off()
    };
    let mut sampler = Sampler::new(options, 4).unwrap();
    for id in [0, 1, 1, 1] {
        sampler.accept(id);
    }
    let mut logits = [4.0, -4.0, 3.0, 0.0];
    sampler.sample(&mut logits);
    assert_eq!(logits, [4.0 / 2.0 - 0.75, -4.0 * 2.0 - 1.25, 3.0, 0.0]);
}

#[test]
fn the_window_forgets() {
    let mut sampler = Sampler::new(
        SamplerOptions {
            penalty_last_n: 2,
            presence_penalty: 1.0,
            ..off()
        },
        5,
    )
    .unwrap();
    for id in [0, 1, 2, 3] {
        sampler.accept(id);
    }
    let mut logits = [0.0; 5];
    sampler.sample(&mut logits);
    assert_eq!(logits, [0.0, 0.0, -1.0, -1.0, 0.0]);
    sampler.reset();
    let mut logits = [0.0; 5];
    sampler.sample(&mut logits);
    assert_eq!(logits, [0.0; 5]);
}

/// The numbers are the contract: this seed gives these tokens on every platform.
#[test]
fn a_seed_is_reproducible() {
    let logits = random_logits(&mut Xoshiro256::new(4), 500);
    let mut sampler = Sampler::new(
        SamplerOptions {
            seed: Some(42),
            ..SamplerOptions::default()
        },
        500,
    )
    .unwrap();
    assert_eq!(sampler.seed(), 42);
    let mut draw = || -> Vec<u32> {
        sampler.reset();
        let step = |_| {
            let id = sampler.sample(&mut logits.clone());
            sampler.accept(id);
            id
        };
        (0..12).map(step).collect()
    };
    let first = draw();
    assert_eq!(first, draw());
    assert_eq!(first, RECORDED);
    let other = Sampler::new(SamplerOptions::default(), 500).unwrap().seed();
    assert_ne!(other, Sampler::new(SamplerOptions::default(), 500).unwrap().seed());
}

const RECORDED: [u32; 12] = [115, 173, 27, 325, 90, 432, 233, 159, 91, 432, 74, 406];

#[test]
fn options_are_checked() {
    let bad = |change: fn(&mut SamplerOptions)| {
        let mut options = SamplerOptions::default();
        change(&mut options);
        match Sampler::new(options, 10) {
            Err(SamplerError::OutOfRange { option, .. }) => option,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(bad(|o| o.temperature = -0.1), "temperature");
    assert_eq!(bad(|o| o.temperature = f32::NAN), "temperature");
    assert_eq!(bad(|o| o.temperature = f32::INFINITY), "temperature");
    assert_eq!(bad(|o| o.top_p = 0.0), "top_p");
    assert_eq!(bad(|o| o.top_p = 1.1), "top_p");
    assert_eq!(bad(|o| o.min_p = -0.1), "min_p");
    assert_eq!(bad(|o| o.min_p = f32::NAN), "min_p");
    assert_eq!(bad(|o| o.repetition_penalty = 0.0), "repetition_penalty");
    assert_eq!(bad(|o| o.frequency_penalty = f32::INFINITY), "frequency_penalty");
    assert_eq!(bad(|o| o.presence_penalty = f32::NAN), "presence_penalty");
    assert_eq!(bad(|o| o.penalty_last_n = 65_537), "penalty_last_n");
    assert_eq!(
        Sampler::new(SamplerOptions::default(), 0).unwrap_err(),
        SamplerError::EmptyVocabulary
    );
    assert!(SamplerOptions::greedy().validate().is_ok());
}

/// The buffers keep the capacity they were made with: sampling does not allocate.
#[test]
fn capacity_never_grows() {
    let mut rng = Xoshiro256::new(5);
    for top_k in [0, 1, 40, 700, 2000] {
        let options = SamplerOptions {
            top_k,
            penalty_last_n: 16,
            ..SamplerOptions::default()
        };
        let mut sampler = Sampler::new(options, 1000).unwrap();
        let capacities = |s: &Sampler| (s.candidates.capacity(), s.window.capacity(), s.seen.capacity());
        let before = capacities(&sampler);
        for _ in 0..100 {
            let id = sampler.sample(&mut random_logits(&mut rng, 1000));
            sampler.accept(id);
        }
        assert_eq!(before, capacities(&sampler));
    }
}
