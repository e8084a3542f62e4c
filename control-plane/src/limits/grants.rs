//! One limit, divided among the proxies that count it: who may let in how many, by what each would like to.
//!
//! The shares that may be in force somewhere never add up to more than the limit's rate. A share that shrinks counts as it
//! was until its proxy has said that it knows; only then does another grow. Whoever is out of reach counts with what it
//! has, then with what that becomes by itself ([`HOLD`], [`DECAY`]), and after [`FORGET`] no more. What the shares leave
//! of the rate waits in a pot of the limit's burst, and is handed to who was short, at once. Where all together want less
//! than there is, each gets what it wants and the same part of the rest; where they want more, nobody who wants little
//! gets less for it, and the others get the same (max-min fairness). Times are nanoseconds since whatever the owner
//! counts from.
//!
//! Where several control planes divide a limit together, each divides a part of it, which it finds out from the others
//! ([`super::book`]): it says what it holds, and is answered what it may. While it is not answered that part stays as it
//! is. A proxy that comes from another of them is that one's to count until it has answered a word of this one, and takes
//! what it has along; one that does not answer for [`VISIT`] has to do with what there is here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use outrigger_config::policy::lease::Share;

use super::book::{Answer, Ask};
use super::common::Common;
use super::fair::fair;
use super::member::{FORGET, Guest, Member, UNANSWERED, nanos, span};
pub use super::member::{Hold, Report, Word};

/// Proxies that one limit is divided among at most, those that are out of reach included.
pub const MAX_MEMBERS: usize = 20_000;
/// More than is wanted, so that who wants more shows it.
const HEADROOM: f64 = 1.25;
/// How long who comes from another control plane may take to answer: well within what that counts with.
const VISIT: Duration = Duration::from_secs(5);

/// A limit and who counts it.
#[derive(Debug)]
pub struct Grants {
    /// Requests a second, of all together.
    rate: f64,
    /// How many may come at once.
    burst: f64,
    /// What is divided here of the rate; all of it, but where others divide the same limit.
    part: f64,
    /// The same when it was last divided.
    told_part: f64,
    common: Option<Common>,
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

impl Grants {
    /// A limit of `rate` requests a second and `burst` at once, of which the part `fallback` holds where the control plane
    /// is away. Nobody gets more than it has before `silent_until`.
    pub fn new((rate, burst): (f64, f64), fallback: f64, now: u64, silent_until: u64) -> Self {
        // Who comes back to a control plane that was away may have had the burst already.
        let (pot, members) = (if now < silent_until { 0.0 } else { burst }, BTreeMap::new());
        let fallback = fallback.clamp(0.0, 1.0);
        let (idle, moved, stirred, due, owed) = (None, true, true, 0, Vec::new());
        let (part, told_part, common, counted) = (rate, rate, None, now);
        Grants {
            rate,
            burst,
            part,
            told_part,
            common,
            fallback,
            pot,
            counted,
            idle,
            moved,
            stirred,
            due,
            owed,
            silent_until,
            members,
        }
    }

    /// The same where others divide it as well: nothing is to be had here before they have answered.
    pub fn common(limit: (f64, f64), fallback: f64, now: u64) -> Self {
        let common = Some(Common::new(now));
        Grants { part: 0.0, pot: 0.0, common, ..Grants::new(limit, fallback, now, now) }
    }

    /// A proxy is there, or there again, with what it holds, which another control plane may have told it (`from`). Says no
    /// where there are too many.
    #[must_use]
    pub fn join(&mut self, member: &Arc<str>, holds: Hold, from: Option<u64>, now: u64) -> bool {
        self.count(now);
        if self.members.len() >= MAX_MEMBERS && !self.members.contains_key(member) {
            return false;
        }
        let sound = |value: f64, most: f64| if value.is_finite() { value.clamp(0.0, most) } else { 0.0 };
        let known = Hold { rate: sound(holds.rate, self.rate), fallback: sound(holds.fallback, self.rate) };
        let told = Share { rate: known.rate, fallback: known.fallback, ..Share::default() };
        // Above every serial of a limit before this one, which the proxy may still answer.
        let serial = self.members.get(member).map_or(0, |member| member.serial).max(now);
        let from = from.filter(|_| self.common.is_some());
        if let (Some(_), Some(before)) = (from, self.members.get(member)) {
            // What it had here when it went it took along, and brings now what has become of that.
            let took = before.reserved(self.as_of(now)).unwrap_or(before.outstanding().rate);
            self.part = (self.part - took).max(0.0);
        }
        let from = from.filter(|_| known != Hold::default());
        let guest = from.map(|from| Guest { from, until: now.saturating_add(nanos(VISIT)) });
        let joined = Member { told, serial, known, owed: true, guest, ..Member::default() };
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
        let was_told = !member.unanswered.is_empty();
        let (changed, hold) = (member.answered(report.serial), member.known);
        let arrived = member.guest.take_if(|_| was_told && member.unanswered.is_empty());
        if let (Some(Guest { from, .. }), Some(common)) = (arrived, &mut self.common) {
            self.part = (self.part + hold.rate).min(self.rate);
            common.took(from, hold);
        }
        if changed || arrived.is_some() {
            self.stir();
        }
    }

    /// A proxy is out of reach.
    pub fn leave(&mut self, member: &Arc<str>, now: u64) {
        self.count(now);
        if let Some(member) = self.members.get_mut(member) {
            member.gone.get_or_insert(now);
            // It may have heard what it did not answer, and have it from here now.
            member.guest = None;
            self.stir();
        }
    }

    /// A proxy has ended, and holds nothing any more.
    pub fn end(&mut self, member: &Arc<str>, now: u64) {
        self.count(now);
        self.members.remove(member);
        self.stir();
    }

    /// What the others are to be told, if there may be any. What proxies took along is told once; where nobody has heard it,
    /// it is to be handed to [`Grants::untold`].
    pub fn ask(&mut self, now: u64) -> Option<Ask> {
        let at = self.as_of(now);
        let common = self.common.as_mut()?;
        let (mut rate, mut fallback, mut demand, mut weight) = (0.0, 0.0, 0.0, 0);
        for member in self.members.values() {
            let held = member.outstanding();
            rate += member.reserved(at).unwrap_or(held.rate);
            fallback += if member.guest.is_none() { held.fallback } else { 0.0 };
            demand += if member.is_present() { member.demand * HEADROOM } else { 0.0 };
            weight += u32::from(member.is_present());
        }
        let (hold, moved) = (self.part.max(rate), common.moved());
        Some(Ask { limit: self.rate, hold, fallback, base: self.part, demand, weight, moved })
    }

    /// Nobody heard what was to be told.
    pub fn untold(&mut self, ask: Ask) {
        if let Some(common) = &mut self.common {
            ask.moved.into_iter().for_each(|(from, hold)| common.took(from, hold));
        }
    }

    /// What the others answered to what they were told.
    pub fn answer(&mut self, ask: &Ask, answer: Answer, now: u64) {
        self.count(now);
        let Some(common) = &mut self.common else { return };
        let was_away = common.answered(answer.is_settled, now);
        // What proxies took along since it asked is on top.
        let part = (answer.part + self.part - ask.base).clamp(0.0, self.rate);
        self.stirred |= was_away || differs(part, self.told_part, 0.01, self.rate);
        self.part = part;
        self.pot = self.pot.min(self.burst * part / self.rate);
        self.moved = true;
    }

    /// Divides the limit anew, where anything has changed: what has to be said, and to whom.
    pub fn divide(&mut self, now: u64) -> Vec<Word> {
        self.count(now);
        if !self.stirred && now < self.due {
            return self.repeat(now);
        }
        self.owed.clear();
        (self.stirred, self.moved, self.told_part) = (false, true, self.part);
        let at = self.as_of(now);
        let forgotten = |gone: u64| at.saturating_sub(gone) > nanos(FORGET);
        self.members.retain(|_, member| !member.gone.is_some_and(forgotten));
        for member in self.members.values_mut() {
            member.guest.take_if(|guest| guest.until <= now);
        }
        let reserved: f64 = self.members.values().filter_map(|member| member.reserved(at)).sum();
        let capacity = (self.part - reserved).max(0.0);
        let demands: Vec<_> = self.present().map(|member| (member.demand * HEADROOM, 1.0)).collect();
        let mut wanted = fair(&demands, capacity).into_iter();
        let fallback = self.fallback * self.part / self.members.len().max(1) as f64;
        // Those who get less are told first; what that sets free is free once they have answered.
        let mut free = capacity - self.present().map(|member| member.outstanding().rate).sum::<f64>();
        let own = self.members.values().filter(|member| member.guest.is_none());
        let mut free_fallback =
            self.fallback * self.part - own.map(|member| member.outstanding().fallback).sum::<f64>();
        let (may_grow, may_tell) = (now >= self.silent_until, self.is_known(now));
        let (burst, rate, mut pot) = (self.burst, self.rate, self.pot);
        let mut words = Vec::new();
        for (name, member) in self.members.iter_mut().filter(|(_, member)| member.gone.is_none()) {
            member.divided = member.demand;
            let before = member.outstanding();
            // A guest goes on with what it has.
            let wanted = if member.guest.is_some() { before.rate } else { wanted.next().unwrap_or(0.0) };
            let fallback = if member.guest.is_some() { before.fallback } else { fallback };
            if member.unanswered.len() >= UNANSWERED {
                // Until it answers and asks again.
                member.owed = false;
                continue;
            }
            // Of a share of nothing, since nobody knows yet what there is to share, it is not told.
            if !may_tell && before == Hold::default() {
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
        let may_tell = self.is_known(now);
        let mut words = Vec::new();
        for name in std::mem::take(&mut self.owed) {
            let Some(member) = self.members.get_mut(&name).filter(|member| member.owed && member.gone.is_none()) else {
                continue;
            };
            let share = Share { credit: 0.0, ..member.told };
            let hold = Hold { rate: share.rate, fallback: share.fallback };
            if !may_tell && hold == Hold::default() {
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
        let guests = self.members.values().filter_map(|member| member.guest).map(|guest| guest.until);
        edges.chain(guests).chain([self.silent_until]).filter(|edge| *edge > now).min().unwrap_or(u64::MAX)
    }

    fn stir(&mut self) {
        (self.stirred, self.moved) = (true, true);
    }

    fn present(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| member.is_present())
    }

    /// Whether it is known what there is to divide.
    fn is_known(&self, now: u64) -> bool {
        let common = self.common.as_ref().is_none_or(|common| common.is_settled() || self.part > 0.0);
        common && now >= self.silent_until
    }

    /// Of when what those hold is known who are out of reach: they may have taken it along to others.
    fn as_of(&self, now: u64) -> u64 {
        self.common.as_ref().map_or(now, |common| common.as_of(now))
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
        self.pot = (self.pot + self.idle.unwrap_or(0.0) * seconds).min(self.burst * self.part / self.rate);
        self.counted = now;
    }

    /// What nobody has, as of when it was last counted.
    fn find_idle(&self) -> Option<f64> {
        let at = self.as_of(self.counted);
        // Of those who are out of reach less is in force later than there was before: the pot gets what is certain.
        if self.members.values().any(|member| member.gone.is_some_and(|gone| at <= gone.saturating_add(span()))) {
            return None;
        }
        let held = |member: &Member| member.reserved(at).unwrap_or_else(|| member.outstanding().rate);
        Some((self.part - self.members.values().map(held).sum::<f64>()).max(0.0))
    }
}

/// Whether two rates are not the same but for this part, of a limit of `rate`.
fn differs(a: f64, b: f64, part: f64, rate: f64) -> bool {
    (a - b).abs() > part * a.max(b) + 1e-9 * rate
}

#[cfg(test)]
mod tests;
