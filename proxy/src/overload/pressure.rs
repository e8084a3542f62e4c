//! From how much of a resource is used to what is done about it; synchronous, and knows no clock but what it is told.
//!
//! Little by little: first connections are not kept, then requests are shed, those of priority Default before those of
//! High and first some, then all; at last nothing is accepted. What rises acts at once, what falls lets go slowly, so
//! that a proxy at the edge does not flap.

use std::time::Duration;

use outrigger_config::route::Priority;

/// From here on connections are not kept beyond the answer under way.
pub const CLOSE: f64 = 0.90;
/// From here to there more and more requests of priority Default are shed.
pub const SHED_DEFAULT: [f64; 2] = [0.94, 0.97];
/// The same of priority High.
pub const SHED_HIGH: [f64; 2] = [0.97, 0.99];
/// From here on nothing is accepted.
pub const REFUSE: f64 = 0.98;

/// How much of the whole a pressure falls in a second at most.
const FALL: f64 = 0.02;

/// The largest share, which is all.
const ALL: u8 = u8::MAX;

/// What is done at the moment, in one word that a request reads at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Actions {
    /// Whether connections are closed after the answer under way.
    pub closes: bool,
    /// Whether nothing is accepted.
    pub refuses: bool,
    /// How many requests of priority Default are shed, of 255.
    pub sheds_default: u8,
    /// How many of priority High.
    pub sheds_high: u8,
}

impl Actions {
    /// What so much pressure asks for. `sheds` is whether fewer requests would help.
    pub fn of(pressure: f64, sheds: bool) -> Self {
        let shed = |[from, to]: [f64; 2]| {
            let share = ((pressure - from) / (to - from)).clamp(0.0, 1.0);
            // In range: the share is at most 1.
            if sheds { (share * f64::from(ALL)).round() as u8 } else { 0 }
        };
        Actions {
            closes: pressure >= CLOSE,
            refuses: sheds && pressure >= REFUSE,
            sheds_default: shed(SHED_DEFAULT),
            sheds_high: shed(SHED_HIGH),
        }
    }

    /// What either asks for.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Actions {
            closes: self.closes || other.closes,
            refuses: self.refuses || other.refuses,
            sheds_default: self.sheds_default.max(other.sheds_default),
            sheds_high: self.sheds_high.max(other.sheds_high),
        }
    }

    /// Whether a request of this priority is shed that rolled so.
    pub fn sheds(self, priority: Priority, roll: u8) -> bool {
        let share = match priority {
            Priority::Default => self.sheds_default,
            Priority::High => self.sheds_high,
        };
        share == ALL || roll < share
    }

    /// How far it has come: 0 nothing, 1 connections close, 2 requests of priority Default are shed, 3 those of High
    /// too, 4 nothing is accepted.
    pub fn stage(self) -> u8 {
        match self {
            Actions { refuses: true, .. } => 4,
            Actions { sheds_high: 1.., .. } => 3,
            Actions { sheds_default: 1.., .. } => 2,
            Actions { closes: true, .. } => 1,
            _ => 0,
        }
    }

    /// As a number; 0 is nothing to do.
    pub fn pack(self) -> u32 {
        u32::from_be_bytes([u8::from(self.closes), u8::from(self.refuses), self.sheds_default, self.sheds_high])
    }

    /// From such a number.
    pub fn unpack(packed: u32) -> Self {
        let [closes, refuses, sheds_default, sheds_high] = packed.to_be_bytes();
        Actions { closes: closes != 0, refuses: refuses != 0, sheds_default, sheds_high }
    }
}

/// A pressure that rises at once and falls slowly.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held(f64);

impl Held {
    /// Takes down what is measured, so long after the last time. What is no number is none.
    pub fn note(&mut self, measured: f64, since: Duration) -> f64 {
        let measured = if measured.is_finite() { measured.max(0.0) } else { 0.0 };
        // From all of it at most: what was far beyond a limit is given up as soon as what was just beyond it.
        self.0 = measured.max(self.0.min(1.0) - FALL * since.as_secs_f64());
        self.0
    }

    /// What it stands at.
    pub fn now(self) -> f64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use outrigger_config::route::Priority;
    use proptest::prelude::{ProptestConfig, prop, prop_assert, prop_assert_eq, proptest};

    use super::{Actions, Held};

    #[test]
    fn the_stages_come_one_after_the_other() {
        let stages: Vec<u8> = [0.0, 0.89, 0.9, 0.93, 0.95, 0.97, 0.975, 0.98, 1.0, 5.0]
            .map(|pressure| Actions::of(pressure, true).stage())
            .into();
        assert_eq!(stages, [0, 0, 1, 1, 2, 2, 3, 4, 4, 4]);
        assert_eq!(Actions::of(1.0, false).stage(), 1, "idle connections are not made fewer by shedding requests");
    }

    #[test]
    fn all_or_nothing_means_it() {
        let all = Actions::of(1.0, true);
        assert!((0..=255).all(|roll| all.sheds(Priority::Default, roll) && all.sheds(Priority::High, roll)));
        let some = Actions::of(0.955, true);
        let shed = (0..=255).filter(|roll| some.sheds(Priority::Default, *roll)).count();
        assert!((120..=136).contains(&shed), "{shed}");
        assert!((0..=255).all(|roll| !some.sheds(Priority::High, roll)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn more_pressure_never_does_less_and_high_is_never_before_default(low in 0.0_f64..2.0, more in 0.0_f64..1.0) {
            let (less, greater) = (Actions::of(low, true), Actions::of(low + more, true));
            prop_assert_eq!(less.or(greater), greater);
            prop_assert!(less.stage() <= greater.stage() && less.sheds_high <= less.sheds_default);
            prop_assert_eq!(Actions::unpack(less.pack()), less);
            prop_assert_eq!(less.pack() == 0, less == Actions::default());
        }

        /// Never below what is measured, and back at it after a bounded time.
        #[test]
        fn pressure_rises_at_once_and_falls_slowly(measured in prop::collection::vec(0.0_f64..1.5, 1..40)) {
            let mut held = Held::default();
            for value in &measured {
                let before = held.now();
                let now = held.note(*value, Duration::from_millis(250));
                prop_assert!(now >= *value && now >= before.min(1.0) - 0.0051);
            }
            for _ in 0..400 {
                held.note(0.1, Duration::from_millis(250));
            }
            prop_assert!((held.now() - 0.1).abs() < 1e-9);
        }
    }

    #[test]
    fn whatever_was_beyond_its_limit_is_let_go_as_soon_as_all_of_it() {
        let mut held = Held::default();
        held.note(100.0, Duration::from_millis(250));
        assert!((held.now() - 100.0).abs() < f64::EPSILON, "it is said as it is");
        assert!(held.note(0.5, Duration::from_secs(6)) < super::CLOSE);
    }

    #[test]
    fn what_is_no_number_is_no_pressure() {
        let mut held = Held::default();
        for value in [f64::NAN, f64::INFINITY, -1.0] {
            assert!(held.note(value, Duration::from_secs(1)).abs() < f64::EPSILON);
        }
    }
}
