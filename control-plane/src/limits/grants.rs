//! One limit, divided among the proxies that count it: who may let in how many, by what each would like to.
//!
//! The shares that may be in force somewhere never add up to more than the limit's rate. A share that shrinks counts as it
//! was until its proxy has said that it knows; only then does another grow. Whoever is out of reach counts with what it
//! has, then with what that becomes by itself ([`HOLD`], [`DECAY`]), and after [`FORGET`] no more. What the shares leave
//! of the rate waits in a pot of the limit's burst, and is handed to who was short, at once. Where all together want less
//! than there is, each gets what it wants and the same part of the rest; where they want more, nobody who wants little
//! gets less for it, and the others get the same (max-min fairness). Times are nanoseconds since whatever the owner
//! counts from.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use outrigger_config::policy::lease::{DECAY, HOLD, PATIENCE, Share};

/// How long a proxy that is out of reach counts with something, at last with its fallback; then it is held to be no more.
pub const FORGET: Duration = Duration::from_secs(120);
/// How much later than its stream ended a proxy may have heard the last word of it: as long as it takes a silent stream
/// for alive, and a little for those who are slow.
const MARGIN: Duration = PATIENCE.saturating_add(Duration::from_secs(2));
/// Proxies that one limit is divided among at most, those that are out of reach included.
pub const MAX_MEMBERS: usize = 20_000;
/// More than is wanted, so that who wants more shows it.
const HEADROOM: f64 = 1.25;
/// Words that a proxy may have left unanswered; then it is told nothing new.
const UNANSWERED: usize = 32;

/// A limit and who counts it.
#[derive(Debug)]
pub struct Grants {
    /// Requests a second, of all together.
    rate: f64,
    /// How many may come at once.
    burst: f64,
    /// Which part of the rate the fallbacks add up to.
    fallback: f64,
    /// What nobody has.
    pot: f64,
    counted: u64,
    /// What nobody has of the rate, as long as nothing changes; none while somebody goes out of reach.
    idle: Option<f64>,
    /// Whether that is to be found anew.
    moved: bool,
    /// Whether anything changed that asks for another division, and when time alone does.
    stirred: bool,
    due: u64,
    /// Who waits for a word, be it the same again.
    owed: Vec<Arc<str>>,
    /// Before this nobody gets more: others may still hold what this control plane does not know of.
    silent_until: u64,
    members: BTreeMap<Arc<str>, Member>,
}

#[derive(Debug, Default)]
struct Member {
    /// Requests a second that it would let in, and by how many the limit was divided last.
    demand: f64,
    divided: f64,
    /// Requests it refused since it was last told something.
    short: f64,
    told: Share,
    serial: u64,
    /// What it is known to have.
    known: Hold,
    /// What it was told and has not answered, by serial.
    unanswered: VecDeque<(u64, Hold)>,
    /// Since when it is out of reach.
    gone: Option<u64>,
    /// Whether it is owed a word.
    owed: bool,
}

/// A rate and a fallback.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Hold {
    /// Requests a second.
    pub rate: f64,
    /// Requests a second where the control plane is away for long.
    pub fallback: f64,
}

/// What a proxy says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Report {
    /// Requests a second that it would let in; nothing where it only says what it knows.
    pub demand: Option<f64>,
    /// Requests that it refused since it last said so.
    pub refused: f64,
    /// The serial of the last word that it knows; 0 is none.
    pub serial: u64,
}

/// What a proxy is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    /// Who.
    pub member: Arc<str>,
    /// What it has to answer.
    pub serial: u64,
    /// Its share from now on.
    pub share: Share,
}

impl Grants {
    /// A limit of `rate` requests a second and `burst` at once, of which the part `fallback` holds where the control plane
    /// is away. Nobody gets more than it has before `silent_until`.
    pub fn new((rate, burst): (f64, f64), fallback: f64, now: u64, silent_until: u64) -> Self {
        // Who comes back to a control plane that was away may have had the burst already.
        let (pot, members) = (if now < silent_until { 0.0 } else { burst }, BTreeMap::new());
        let fallback = fallback.clamp(0.0, 1.0);
        let (idle, moved, stirred, due, owed) = (None, true, true, 0, Vec::new());
        Grants { rate, burst, fallback, pot, counted: now, idle, moved, stirred, due, owed, silent_until, members }
    }

    /// A proxy is there, or there again, with what it holds. Says no where there are too many.
    #[must_use]
    pub fn join(&mut self, member: &Arc<str>, holds: Hold, now: u64) -> bool {
        self.count(now);
        if self.members.len() >= MAX_MEMBERS && !self.members.contains_key(member) {
            return false;
        }
        let sound = |value: f64, most: f64| if value.is_finite() { value.clamp(0.0, most) } else { 0.0 };
        let known = Hold { rate: sound(holds.rate, self.rate), fallback: sound(holds.fallback, self.rate) };
        let told = Share { rate: known.rate, fallback: known.fallback, ..Share::default() };
        // Above every serial of a limit before this one, which the proxy may still answer.
        let serial = self.members.get(member).map_or(0, |member| member.serial).max(now);
        let joined = Member { told, serial, known, owed: true, ..Member::default() };
        self.members.insert(Arc::clone(member), joined);
        self.stir();
        true
    }

    /// What a proxy that is there says.
    pub fn report(&mut self, member: &Arc<str>, report: &Report, now: u64) {
        self.count(now);
        let most = self.rate * 1e3;
        let Some((name, _)) = self.members.get_key_value(member) else { return };
        let name = Arc::clone(name);
        let Some(member) = self.members.get_mut(member).filter(|member| member.gone.is_none()) else { return };
        let sound = |value: f64| if value.is_finite() { value.clamp(0.0, most) } else { 0.0 };
        if let Some(demand) = report.demand {
            if !std::mem::replace(&mut member.owed, true) {
                self.owed.push(name);
            }
            member.demand = sound(demand);
            self.stirred |= differs(member.demand, member.divided, 0.01, self.rate);
        }
        member.short += sound(report.refused);
        self.stirred |= member.short > 0.0;
        let before = member.outstanding();
        while let Some((serial, hold)) = member.unanswered.front()
            && *serial <= report.serial
        {
            member.known = *hold;
            member.unanswered.pop_front();
        }
        if member.outstanding() != before {
            self.stir();
        }
    }

    /// A proxy is out of reach.
    pub fn leave(&mut self, member: &Arc<str>, now: u64) {
        self.count(now);
        if let Some(member) = self.members.get_mut(member) {
            member.gone.get_or_insert(now);
            self.stir();
        }
    }

    /// A proxy has ended, and holds nothing any more.
    pub fn end(&mut self, member: &Arc<str>, now: u64) {
        self.count(now);
        self.members.remove(member);
        self.stir();
    }

    /// Divides the limit anew, where anything has changed: what has to be said, and to whom.
    pub fn divide(&mut self, now: u64) -> Vec<Word> {
        self.count(now);
        if !self.stirred && now < self.due {
            return self.repeat(now);
        }
        self.owed.clear();
        (self.stirred, self.moved) = (false, true);
        let forgotten = |gone: u64| now.saturating_sub(gone) > nanos(FORGET);
        self.members.retain(|_, member| !member.gone.is_some_and(forgotten));
        let reserved: f64 = self.members.values().filter_map(|member| member.reserved(now)).sum();
        let capacity = (self.rate - reserved).max(0.0);
        let demands: Vec<f64> = self.present().map(|member| member.demand * HEADROOM).collect();
        let wanted = fair(&demands, capacity);
        let fallback = self.fallback * self.rate / self.members.len().max(1) as f64;
        // Those who get less are told first; what that sets free is free once they have answered.
        let mut free = capacity - self.present().map(|member| member.outstanding().rate).sum::<f64>();
        let held: f64 = self.members.values().map(|member| member.outstanding().fallback).sum();
        let mut free_fallback = self.fallback * self.rate - held;
        let may_grow = now >= self.silent_until;
        let (burst, rate, mut pot) = (self.burst, self.rate, self.pot);
        let mut words = Vec::new();
        let present = self.members.iter_mut().filter(|(_, member)| member.gone.is_none());
        for ((name, member), wanted) in present.zip(wanted) {
            member.divided = member.demand;
            if member.unanswered.len() >= UNANSWERED {
                // Until it answers and asks again.
                member.owed = false;
                continue;
            }
            let before = member.outstanding();
            // Of a share of nothing, since nobody knows yet what there is to share, it is not told.
            if !may_grow && before == Hold::default() {
                continue;
            }
            let grown = |before: f64, wanted: f64, free: &mut f64| {
                let more = (wanted - before).min(*free).max(0.0);
                if wanted <= before || !may_grow {
                    return wanted.min(before);
                }
                *free -= more;
                before + more
            };
            let next = Hold {
                rate: grown(before.rate, wanted, &mut free),
                fallback: grown(before.fallback, fallback, &mut free_fallback),
            };
            let size = (burst * next.rate / rate).max(1.0);
            let credit = member.short.min(pot).min(size).floor().max(0.0);
            let told = Share { rate: next.rate, fallback: next.fallback, burst: size, credit };
            // A little more or less is not worth a word.
            let changed = [(next.rate, member.told.rate), (next.fallback, member.told.fallback)]
                .iter()
                .any(|(next, told)| differs(*next, *told, 0.02, rate));
            if !changed && credit == 0.0 && !member.owed {
                continue;
            }
            pot -= credit;
            member.serial += 1;
            member.unanswered.push_back((member.serial, next));
            (member.told, member.short, member.owed) = (told, 0.0, false);
            words.push(Word { member: Arc::clone(name), serial: member.serial, share: told });
        }
        self.pot = pot;
        // Who was refused something gets it from the pot as that fills.
        let short = self.present().any(|member| member.short > 0.0);
        self.stirred = short;
        self.due = self.next_change(now);
        words
    }

    /// Tells those who wait for a word what they were told before: the control plane is there.
    fn repeat(&mut self, now: u64) -> Vec<Word> {
        let may_grow = now >= self.silent_until;
        let mut words = Vec::new();
        for name in std::mem::take(&mut self.owed) {
            let Some(member) = self.members.get_mut(&name).filter(|member| member.owed && member.gone.is_none()) else {
                continue;
            };
            let share = Share { credit: 0.0, ..member.told };
            let hold = Hold { rate: share.rate, fallback: share.fallback };
            if !may_grow && hold == Hold::default() {
                continue;
            }
            member.owed = false;
            if member.unanswered.len() >= UNANSWERED {
                continue;
            }
            member.serial += 1;
            member.unanswered.push_back((member.serial, hold));
            words.push(Word { member: name, serial: member.serial, share });
        }
        words
    }

    /// When the limit is to be divided anew though nobody says anything.
    fn next_change(&self, now: u64) -> u64 {
        let gone = self.members.values().filter_map(|member| member.gone);
        let edges =
            gone.flat_map(|gone| [span(), nanos(FORGET)].map(|time| gone.saturating_add(time).saturating_add(1)));
        edges.chain([self.silent_until]).filter(|edge| *edge > now).min().unwrap_or(u64::MAX)
    }

    fn stir(&mut self) {
        (self.stirred, self.moved) = (true, true);
    }

    fn present(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| member.gone.is_none())
    }

    /// What nobody had since last time goes into the pot.
    fn count(&mut self, now: u64) {
        if now <= self.counted {
            return;
        }
        if std::mem::take(&mut self.moved) {
            self.idle = self.find_idle();
        }
        // What those have who have not come back yet is not idle, though nobody here knows of it.
        let seconds = now.saturating_sub(self.counted.max(self.silent_until)) as f64 / 1e9;
        self.pot = (self.pot + self.idle.unwrap_or(0.0) * seconds).min(self.burst);
        self.counted = now;
    }

    /// What nobody has, as of when it was last counted.
    fn find_idle(&self) -> Option<f64> {
        let at = self.counted;
        // Of those who are out of reach less is in force later than there was before: the pot gets what is certain.
        if self.members.values().any(|member| member.gone.is_some_and(|gone| at <= gone.saturating_add(span()))) {
            return None;
        }
        let held = |member: &Member| member.reserved(at).unwrap_or_else(|| member.outstanding().rate);
        Some((self.rate - self.members.values().map(held).sum::<f64>()).max(0.0))
    }
}

impl Member {
    /// The most of what may be in force with it.
    fn outstanding(&self) -> Hold {
        let told = self.unanswered.iter().map(|(_, hold)| hold);
        told.fold(self.known, |most, hold| Hold {
            rate: most.rate.max(hold.rate),
            fallback: most.fallback.max(hold.fallback),
        })
    }

    /// What one that is out of reach counts with.
    fn reserved(&self, now: u64) -> Option<f64> {
        let gone = self.gone?;
        let Hold { rate, fallback } = self.outstanding();
        Some(if now <= gone.saturating_add(span()) { rate.max(fallback) } else { fallback })
    }
}

/// After how long only the fallback of a proxy is left.
fn span() -> u64 {
    nanos(HOLD) + nanos(DECAY) + nanos(MARGIN)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Whether two rates are not the same but for this part, of a limit of `rate`.
fn differs(a: f64, b: f64, part: f64, rate: f64) -> bool {
    (a - b).abs() > part * a.max(b) + 1e-9 * rate
}

/// Divides `capacity`: nobody gets more than it wants before all have what they want, and the rest is divided evenly.
fn fair(wanted: &[f64], capacity: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
    let (mut shares, mut left) = (vec![0.0; wanted.len()], capacity);
    for (done, index) in order.iter().enumerate() {
        let equal = left / (wanted.len() - done) as f64;
        shares[*index] = wanted[*index].min(equal);
        left -= shares[*index];
    }
    let rest = left.max(0.0) / wanted.len().max(1) as f64;
    shares.iter_mut().for_each(|share| *share += rest);
    shares
}

#[cfg(test)]
mod tests;
