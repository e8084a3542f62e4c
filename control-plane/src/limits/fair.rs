//! How something is divided that all want a part of: each gets what it wants where there is enough, and where there is not,
//! those who want little get that, and the others the same for each unit of their weight.

/// Divides `capacity` among who wants so much and weighs so much, at least 1: nobody gets more than it wants before all have
/// what they want, and the rest is divided by weight.
pub fn fair(wanted: &[(f64, f64)], capacity: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    let level = |index: usize| wanted[index].0 / wanted[index].1;
    order.sort_by(|a, b| level(*a).total_cmp(&level(*b)));
    let all: f64 = wanted.iter().map(|(_, weight)| weight).sum();
    let (mut shares, mut left, mut weights) = (vec![0.0; wanted.len()], capacity, all);
    for index in order {
        let (want, weight) = wanted[index];
        shares[index] = want.min(left * weight / weights.max(weight));
        left -= shares[index];
        weights -= weight;
    }
    let rest = left.max(0.0);
    shares.iter_mut().zip(wanted).for_each(|(share, (_, weight))| *share += rest * weight / all);
    shares
}

#[cfg(test)]
mod tests {
    use super::fair;

    fn near(a: &[f64], b: &[f64]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9)
    }

    #[test]
    fn nobody_who_wants_little_gets_less_for_those_who_want_much() {
        let alike =
            |wanted: &[f64], capacity| fair(&wanted.iter().map(|want| (*want, 1.0)).collect::<Vec<_>>(), capacity);
        assert!(near(&alike(&[1.0, 100.0, 100.0], 11.0), &[1.0, 5.0, 5.0]));
        assert!(near(&alike(&[1.0, 2.0], 9.0), &[4.0, 5.0]));
        assert!(near(&alike(&[5.0, 0.0], 0.0), &[0.0, 0.0]));
        assert!(alike(&[], 5.0).is_empty());
    }

    #[test]
    fn who_stands_for_more_gets_more() {
        assert!(near(&fair(&[(100.0, 3.0), (100.0, 1.0)], 8.0), &[6.0, 2.0]));
        assert!(near(&fair(&[(1.0, 3.0), (100.0, 1.0)], 8.0), &[1.0, 7.0]));
        assert!(near(&fair(&[(1.0, 3.0), (1.0, 1.0)], 10.0), &[7.0, 3.0]), "the rest too");
    }
}
