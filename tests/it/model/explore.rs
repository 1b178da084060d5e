//! All interleavings of a few actors, or random ones of more.
//!
//! Futures cannot be copied, so a state is reached by replaying the choices that lead to it. What has been seen is known
//! by a hash of the store and of everything that each actor has learned: the same actor that has been told the same
//! things does the same next.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Context, Wake, Waker};

use tokio::runtime::{Builder, Runtime};
use xcache_core::gc::pass::DeleteMode;
use xcache_core::object::{ArchiveId, Kind, Ref};

use super::actors::{Actor, Hands};
use super::store::{Lie, ModelStore};
use super::world::{DAY, Violation, World, archive, entry_name, footer};

/// Who acts, and what may happen to them.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) actors: Vec<Actor>,
    /// Which actor is told which lie.
    pub(super) lies: Vec<(usize, Lie)>,
    /// How many actors may be killed, each at any point.
    pub(super) kills: usize,
    /// The clock may jump by more than a day once, so that intents expire.
    pub(super) clock_jumps: usize,
    /// Objects on a page of a listing.
    pub(super) page_size: usize,
    pub(super) mode: DeleteMode,
    /// Give up after so many states.
    pub(super) max_states: usize,
    /// There is a delta `d0` on `b` from the beginning, as old as `b`.
    pub(super) old_delta: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            actors: Vec::new(),
            lies: Vec::new(),
            kills: 0,
            clock_jumps: 0,
            page_size: 1000,
            mode: DeleteMode::Conditional,
            max_states: 2_000_000,
            old_delta: false,
        }
    }
}

/// What an exploration found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) states: usize,
    pub(super) interleavings: f64,
    pub(super) violation: Option<(Violation, Vec<String>)>,
    pub(super) cut_short: bool,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} states", self.states)?;
        if self.cut_short {
            f.write_str(", cut short")?;
        }
        match &self.violation {
            Some((violation, trace)) => write!(f, ", {violation} after:\n    {}", trace.join("\n    ")),
            None if self.interleavings > 0.0 => write!(f, ", {:.3e} interleavings, no violation", self.interleavings),
            None => f.write_str(", no violation"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    /// Lets the n-th waiting request through.
    Grant(usize),
    Kill(usize),
    Jump,
}

/// Visits every state.
pub(super) fn exhaust(config: &Config) -> Found {
    struct Frame {
        state: u64,
        choices: Vec<Choice>,
        next: usize,
        interleavings: f64,
    }
    let mut found = Found::default();
    let mut seen: HashMap<u64, f64> = HashMap::new();
    let mut frames: Vec<Frame> = Vec::new();
    let mut run = Run::new(config);
    loop {
        // Here `run` stands at a state that has just been reached.
        let state = run.state();
        let choices = run.choices();
        let done = if let Some(violation) = run.violation() {
            found.violation = Some((violation, run.trace));
            found.states = seen.len();
            return found;
        } else if let Some(&interleavings) = seen.get(&state) {
            Some(interleavings)
        } else if choices.is_empty() {
            seen.insert(state, 1.0);
            Some(1.0)
        } else if seen.len() + frames.len() >= config.max_states {
            found.cut_short = true;
            found.states = seen.len();
            return found;
        } else {
            frames.push(Frame { state, choices, next: 0, interleavings: 0.0 });
            None
        };
        if let Some(mut interleavings) = done {
            // Back to the last state with a choice left.
            loop {
                let Some(frame) = frames.last_mut() else {
                    found.states = seen.len();
                    found.interleavings = interleavings;
                    return found;
                };
                frame.interleavings += interleavings;
                if frame.next < frame.choices.len() {
                    break;
                }
                interleavings = frame.interleavings;
                seen.insert(frame.state, interleavings);
                frames.pop();
            }
            run = Run::new(config);
            for frame in &frames[..frames.len() - 1] {
                run.take(frame.choices[frame.next - 1]);
            }
        }
        let frame = frames.last_mut().expect("pushed or found above");
        frame.next += 1;
        run.take(frame.choices[frame.next - 1]);
    }
}

/// Takes random walks.
pub(super) fn wander(config: &Config, walks: u64, seed: u64) -> Found {
    let mut found = Found::default();
    let mut random = seed | 1;
    for _ in 0..walks {
        let mut run = Run::new(config);
        loop {
            found.states += 1;
            if let Some(violation) = run.violation() {
                found.violation = Some((violation, run.trace));
                return found;
            }
            let choices = run.choices();
            if choices.is_empty() {
                break;
            }
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // Kills and jumps are rarer than requests.
            let requests = choices.iter().filter(|choice| matches!(choice, Choice::Grant(_))).count();
            let rare = requests == 0 || random.is_multiple_of(16);
            let among = if rare { &choices[..] } else { &choices[..requests] };
            run.take(among[(random >> 8) as usize % among.len()]);
        }
    }
    found
}

/// One run of all actors.
struct Run<'a> {
    config: &'a Config,
    world: Arc<Mutex<World>>,
    actors: Vec<Option<Pin<Box<dyn Future<Output = ()>>>>>,
    killed: Vec<bool>,
    kills: usize,
    jumps: usize,
    trace: Vec<String>,
}

impl<'a> Run<'a> {
    fn new(config: &'a Config) -> Self {
        let count = config.actors.len();
        let mut world = World::new(count, config.page_size);
        world.ignores_if_match = config.mode == DeleteMode::Unconditional;
        let is_released = config.actors.iter().any(|actor| matches!(actor, Actor::Keeper { .. }));
        world.passes_matter = world.ignores_if_match || config.clock_jumps > 0 || is_released;
        // What dangles may go; what does not dangle must stay.
        let only_tidies = config.actors.contains(&Actor::Tidy);
        let nobody = count;
        let base = archive(footer(Kind::Base, "b", ArchiveId([200; 16]), Vec::new()));
        world.put(nobody, entry_name("b", Kind::Base).as_str(), base);
        if !only_tidies {
            world.may_go.insert(ArchiveId([200; 16]));
        }
        if config.old_delta {
            let name = entry_name("b", Kind::Base);
            let r = Ref {
                etag: world.objects[name.as_str()].meta.etag.clone(),
                name,
                size: 0,
                data_bytes: 0,
                archive_id: ArchiveId([200; 16]),
                created_nanos: 0,
            };
            let delta = archive(footer(Kind::Delta, "d0", ArchiveId([201; 16]), vec![r]));
            world.put(nobody, entry_name("d0", Kind::Delta).as_str(), delta);
            if !only_tidies {
                world.may_go.insert(ArchiveId([201; 16]));
            }
        }
        world.clock = 10 * DAY;
        let world = Arc::new(Mutex::new(world));
        let actors = (0..count)
            .map(|n| {
                let lie = config.lies.iter().find(|(liar, _)| *liar == n).map(|(_, lie)| *lie);
                let store = ModelStore::new(&world, n, lie);
                let hands = Hands { store, world: Arc::clone(&world), number: n as u8, mode: config.mode };
                Some(Box::pin(hands.run(config.actors[n])) as _)
            })
            .collect();
        let mut run = Self { config, world, actors, killed: vec![false; count], kills: 0, jumps: 0, trace: Vec::new() };
        for n in 0..count {
            run.go_on(n);
        }
        run
    }

    fn choices(&self) -> Vec<Choice> {
        let waiting = self.world.lock().unwrap().pending.len();
        let alive = || (0..self.actors.len()).filter(|&n| self.actors[n].is_some());
        let mut choices: Vec<Choice> = (0..waiting).map(Choice::Grant).collect();
        if self.kills < self.config.kills {
            choices.extend(alive().map(Choice::Kill));
        }
        if self.jumps < self.config.clock_jumps && alive().next().is_some() {
            choices.push(Choice::Jump);
        }
        choices
    }

    fn take(&mut self, choice: Choice) {
        match choice {
            Choice::Grant(n) => {
                let actor = {
                    let mut world = self.world.lock().unwrap();
                    let pending = &mut world.pending[n];
                    pending.granted = true;
                    self.trace.push(format!("{} {}", pending.actor, pending.what));
                    if let Some(waker) = pending.waker.take() {
                        waker.wake();
                    }
                    pending.actor
                };
                self.go_on(actor);
            }
            Choice::Kill(n) => {
                self.trace.push(format!("{n} is killed"));
                self.actors[n] = None;
                self.killed[n] = true;
                self.kills += 1;
                self.world.lock().unwrap().pending.retain(|pending| pending.actor != n);
            }
            Choice::Jump => {
                self.trace.push("the clock jumps".into());
                self.jumps += 1;
                self.world.lock().unwrap().clock += DAY + DAY / 24;
            }
        }
        self.world.lock().unwrap().check();
    }

    /// Lets an actor go on until it waits for the store again.
    fn go_on(&mut self, n: usize) {
        let Some(actor) = &mut self.actors[n] else { return };
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&flag));
        // Requests are timed. Nobody drives this clock, so that no bound is ever reached.
        static CLOCK: LazyLock<Runtime> =
            LazyLock::new(|| Builder::new_current_thread().enable_time().build().expect("a runtime can be built"));
        let _clock = CLOCK.enter();
        while flag.0.swap(false, Ordering::Relaxed) {
            if actor.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                self.actors[n] = None;
                return;
            }
        }
    }

    fn violation(&self) -> Option<Violation> {
        self.world.lock().unwrap().violation.clone()
    }

    fn state(&self) -> u64 {
        self.world.lock().unwrap().state(&self.killed)
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
