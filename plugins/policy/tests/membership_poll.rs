//! What is asked of Envoy's admin, and when.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;
use tidegate_policy::{
    membership::{
        Counters, Happening, MAX_CLUSTERS, MAX_PATH_BYTES, Pace, Poll, Question, Subject, Want,
        next_want, re2_literal, stat_name,
    },
    units::WallTime,
};

const START: u64 = 1_700_000_000_000;
const SECOND: u64 = 1000;
const YEAR: u64 = 31_536_000 * SECOND;
/// Jitters nothing: the interval is exact.
const MIDDLE: u64 = 1 << 63;

/// Is a moment in milliseconds.
fn at(ms: u64) -> WallTime {
    WallTime::from_ns((START + ms) * 1_000_000)
}

fn counters(change: u64) -> Counters {
    Counters {
        change,
        total: 2,
        healthy: 2,
        ..Counters::default()
    }
}

/// Is a poll and an Envoy that answers it at once.
struct Admin {
    poll: Poll,
    stats: BTreeMap<String, Counters>,
    endpoints: usize,
    answers: bool,
}

impl Admin {
    fn new(clusters: &[&str]) -> Self {
        let mut poll = Poll::new(Pace::default());
        let mut stats = BTreeMap::new();
        for cluster in clusters {
            assert!(poll.add(cluster));
            stats.insert(stat_name(cluster), counters(1));
        }
        Self {
            poll,
            stats,
            endpoints: 2,
            answers: true,
        }
    }

    /// Asks and answers until nothing is due, and returns what was asked.
    fn tick(&mut self, ms: u64) -> Vec<String> {
        self.poll.on_tick(MIDDLE, at(ms));
        let mut asked = Vec::new();
        while let Some(question) = self.poll.poll_question(MIDDLE, at(ms)) {
            match &question.subject {
                subject if !self.answers => self.poll.on_failed(subject, 0, at(ms)),
                Subject::Counters => drop(self.poll.on_counters(&self.stats, at(ms))),
                Subject::List { cluster } => self.poll.on_listed(cluster, self.endpoints, cluster),
            }
            asked.push(match question.subject {
                Subject::Counters => "counters".into(),
                Subject::List { cluster } => cluster,
            });
            assert!(asked.len() < 100, "asks without end");
        }
        asked
    }

    /// Ticks every 250 ms and returns what was asked, with the milliseconds.
    fn run(&mut self, from_ms: u64, until_ms: u64) -> Vec<(u64, String)> {
        let ticks = (from_ms..until_ms).step_by(250);
        ticks
            .flat_map(|ms| self.tick(ms).into_iter().map(move |what| (ms, what)))
            .collect()
    }

    /// Returns when lists were asked for, in milliseconds.
    fn lists(&mut self, from_ms: u64, until_ms: u64) -> Vec<u64> {
        let asked = self.run(from_ms, until_ms).into_iter();
        asked
            .filter(|(_, what)| what != "counters")
            .map(|(ms, _)| ms)
            .collect()
    }
}

#[test]
fn every_state_meets_every_happening() {
    let states = [Want::Asked, Want::Current, Want::Overtaken, Want::Stale];
    let happenings = [
        Happening::Asked,
        Happening::Due,
        Happening::Failed,
        Happening::Listed,
        Happening::Moved,
    ];
    let mut table = String::new();
    for state in states {
        for happening in happenings {
            let next = next_want(state, happening);
            let next = next.map_or("-".into(), |next| format!("{next:?}"));
            table += &format!("{state:?} {happening:?} {next}\n");
        }
    }
    let expected = "\
        Asked Asked -\nAsked Due Asked\nAsked Failed Stale\nAsked Listed Current\nAsked Moved Overtaken\n\
        Current Asked -\nCurrent Due Stale\nCurrent Failed -\nCurrent Listed -\nCurrent Moved Stale\n\
        Overtaken Asked -\nOvertaken Due Overtaken\nOvertaken Failed Stale\nOvertaken Listed Stale\nOvertaken Moved Overtaken\n\
        Stale Asked Asked\nStale Due Stale\nStale Failed -\nStale Listed -\nStale Moved Stale\n";
    assert_eq!(table, expected);
}

#[test]
fn poll_asks_nothing_before_the_first_tick_and_at_once_with_it() {
    let mut admin = Admin::new(&["echo"]);
    assert_eq!(admin.poll.poll_question(0, at(0)), None);
    assert_eq!(admin.tick(0), ["counters", "echo"]);
    assert_eq!(Admin::new(&[]).tick(0), [""; 0]);
}

#[test]
fn counters_are_polled_each_second_and_the_list_every_30_when_nothing_moves() {
    let mut admin = Admin::new(&["echo"]);
    let asked = admin.run(0, 95 * SECOND);
    let counted = asked.iter().filter(|(_, what)| what == "counters").count();
    assert_eq!(counted, 95);
    let lists: Vec<_> = asked
        .iter()
        .filter(|(_, what)| what == "echo")
        .map(|(ms, _)| *ms)
        .collect();
    assert_eq!(lists, [0, 30 * SECOND, 60 * SECOND, 90 * SECOND]);
}

#[test]
fn list_is_asked_for_when_any_counter_moves() {
    let moved = [
        Counters {
            change: 2,
            ..counters(1)
        },
        Counters {
            total: 3,
            ..counters(1)
        },
        Counters {
            healthy: 1,
            ..counters(1)
        },
        Counters {
            degraded: 1,
            ..counters(1)
        },
        Counters {
            excluded: 1,
            ..counters(1)
        },
        counters(0),
    ];
    for moved in moved {
        let mut admin = Admin::new(&["echo", "other"]);
        admin.run(0, 5 * SECOND);
        admin.stats.insert("echo".into(), moved);
        let asked = admin.run(5 * SECOND, 10 * SECOND);
        let lists: Vec<_> = asked
            .into_iter()
            .filter(|(_, what)| what != "counters")
            .collect();
        assert_eq!(lists, [(5 * SECOND, "echo".to_owned())], "{moved:?}");
    }
}

#[test]
fn change_while_a_list_is_under_way_asks_for_it_again() {
    let mut admin = Admin::new(&["echo"]);
    admin.poll.on_tick(0, at(0));
    assert_eq!(
        admin.poll.poll_question(MIDDLE, at(0)).unwrap().subject,
        Subject::Counters
    );
    admin.poll.on_counters(&admin.stats, at(0));
    let list = admin.poll.poll_question(MIDDLE, at(0)).unwrap();
    assert_eq!(
        list.subject,
        Subject::List {
            cluster: "echo".into()
        }
    );
    assert_eq!(admin.poll.poll_question(MIDDLE, at(0)), None);
    // It has come and is read in slices: the counters go on.
    admin.poll.on_reading(at(1000));
    assert_eq!(admin.poll.want("echo"), Some(Want::Asked));
    assert_eq!(
        admin.poll.poll_question(MIDDLE, at(1000)).unwrap().subject,
        Subject::Counters
    );
    admin.stats.insert("echo".into(), counters(2));
    admin.poll.on_counters(&admin.stats, at(1000));
    assert_eq!(admin.poll.want("echo"), Some(Want::Overtaken));
    assert_eq!(admin.poll.poll_question(MIDDLE, at(1500)), None);
    admin.poll.on_listed("echo", 2, "echo");
    assert_eq!(admin.poll.want("echo"), Some(Want::Stale));
    assert_eq!(
        admin.poll.poll_question(MIDDLE, at(1500)).unwrap().subject,
        list.subject
    );
    assert_eq!(admin.poll.unexpected(), 0);
}

#[test]
fn lists_of_a_large_cluster_are_further_apart() {
    // 27 us of the main thread per endpoint, and at most 1 % of it.
    for (endpoints, gap_ms) in [
        (10, 1000),
        (1000, 2750),
        (5000, 13_500),
        (10_000, 27_000),
        (20_000, 30_000),
    ] {
        let mut admin = Admin::new(&["echo"]);
        admin.endpoints = endpoints;
        let mut times = Vec::new();
        for ms in (0..100 * SECOND).step_by(250) {
            admin.stats.insert("echo".into(), counters(ms));
            times.extend(
                admin
                    .tick(ms)
                    .iter()
                    .filter(|what| *what == "echo")
                    .map(|_| ms),
            );
        }
        let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(!gaps.is_empty());
        assert!(
            gaps.iter().all(|gap| (gap_ms..gap_ms + 1000).contains(gap)),
            "{endpoints}: {gaps:?}"
        );
    }
}

#[test]
fn cluster_that_envoy_does_not_count_is_listed_every_5_seconds() {
    let mut admin = Admin::new(&["echo"]);
    admin.stats.clear();
    assert_eq!(
        admin.lists(0, 16 * SECOND),
        [0, 5 * SECOND, 10 * SECOND, 15 * SECOND]
    );
}

#[test]
fn cluster_that_is_counted_under_another_name_is_found_by_its_listing() {
    let mut admin = Admin::new(&["echo"]);
    admin.stats = BTreeMap::from([("alt_name".into(), counters(1))]);
    admin.tick(0);
    admin.poll.on_tick(0, at(5000));
    admin.poll.poll_question(MIDDLE, at(5000)).unwrap();
    admin.poll.on_counters(&admin.stats, at(5000));
    admin.poll.poll_question(MIDDLE, at(5000)).unwrap();
    admin.poll.on_listed("echo", 2, "alt:name");
    admin.poll.on_tick(0, at(6000));
    let question = admin.poll.poll_question(MIDDLE, at(6000)).unwrap();
    assert_eq!(
        question.path,
        "/stats?filter=%5Ecluster%5C.%28alt_name%29%5C.membership_"
    );
    admin.poll.on_counters(&admin.stats, at(6000));
    // A change between that list and these counters may have been missed.
    assert_eq!(admin.poll.want("echo"), Some(Want::Stale));
}

#[test]
fn errors_back_off_to_30_seconds_and_an_answer_ends_it() {
    let mut admin = Admin::new(&["echo"]);
    admin.answers = false;
    let asked = admin.run(0, 200 * SECOND);
    let times = |wanted: &str| -> Vec<u64> {
        let of = asked.iter().filter(|(_, what)| what == wanted);
        of.map(|(ms, _)| ms / SECOND).collect()
    };
    let expected = [0, 2, 6, 14, 30, 60, 90, 120, 150, 180];
    assert_eq!(times("counters"), expected);
    assert_eq!(times("echo"), expected);
    assert_eq!(admin.poll.failed(), 20);
    admin.answers = true;
    let asked = admin.run(210 * SECOND, 215 * SECOND);
    let counted = asked.iter().filter(|(_, what)| what == "counters").count();
    assert_eq!(counted, 5);
}

#[test]
fn answer_that_never_comes_is_given_up_at_its_deadline() {
    let mut admin = Admin::new(&["echo"]);
    let poll = &mut admin.poll;
    poll.on_tick(0, at(0));
    let question = poll.poll_question(MIDDLE, at(0)).unwrap();
    assert_eq!(
        (question.timeout, question.deadline),
        (Duration::from_secs(1), at(1000))
    );
    poll.on_tick(0, at(999));
    assert_eq!(
        (poll.failed(), poll.poll_question(MIDDLE, at(999))),
        (0, None)
    );
    poll.on_tick(0, at(1000));
    assert_eq!(poll.failed(), 1);
    let question = poll.poll_question(MIDDLE, at(1000)).unwrap();
    assert_eq!(
        (question.timeout, question.deadline),
        (Duration::from_secs(5), at(6000))
    );
    // The late answer and one that nobody asked for are counted and change nothing.
    poll.on_counters(&admin.stats, at(1001));
    poll.on_listed("nobody", 1, "nobody");
    poll.on_failed(&Subject::Counters, 0, at(1001));
    assert_eq!(poll.unexpected(), 3);
    assert_eq!(poll.want("echo"), Some(Want::Asked));
    poll.on_reading(at(1002));
    poll.on_tick(0, at(61_001));
    assert_eq!((poll.want("echo"), poll.failed()), (Some(Want::Asked), 1));
    poll.on_tick(0, at(61_002));
    assert_eq!((poll.want("echo"), poll.failed()), (Some(Want::Stale), 2));
    poll.on_reading(at(61_002));
    assert_eq!(poll.unexpected(), 4);
}

#[test]
fn lists_of_many_clusters_take_turns() {
    let mut admin = Admin::new(&["a", "b", "c"]);
    assert_eq!(admin.tick(0), ["counters", "a", "b", "c"]);
    // "a" changes all the time; the others still get their turn.
    for (name, change) in [("a", 2), ("c", 2)] {
        admin.stats.insert(name.into(), counters(change));
    }
    assert_eq!(admin.tick(1000), ["counters", "a", "c"]);
    admin.poll.remove("b");
    assert_eq!(admin.poll.want("b"), None);
    assert_eq!(admin.lists(2000, 60 * SECOND).len(), 2);
}

#[test]
fn cluster_that_is_always_due_leaves_the_others_their_turn() {
    let pace = Pace {
        interval: Duration::from_secs(3600),
        refresh: Duration::ZERO,
        min_gap: Duration::ZERO,
        ..Pace::default()
    };
    let mut poll = Poll::new(pace);
    let names = ["a", "b", "c"];
    assert!(names.iter().all(|name| poll.add(name)));
    let stats = names.map(|name| (name.into(), counters(1)));
    poll.on_tick(0, at(0));
    poll.poll_question(0, at(0)).unwrap();
    poll.on_counters(&BTreeMap::from(stats), at(0));
    let mut asked = String::new();
    for _ in 0..6 {
        if let Some(Subject::List { cluster }) = poll.poll_question(0, at(0)).map(|q| q.subject) {
            poll.on_listed(&cluster, 0, &cluster);
            asked += &cluster;
        }
    }
    assert_eq!(asked, "abcabc");
}

#[test]
fn counters_of_many_clusters_are_asked_for_in_several_questions() {
    let mut poll = Poll::new(Pace::default());
    for index in 0..MAX_CLUSTERS {
        assert!(poll.add(&format!(
            "outbound|80||service-{index:04}.namespace.svc.cluster.local"
        )));
    }
    assert!(!poll.add("one more"));
    assert!(poll.add("outbound|80||service-0000.namespace.svc.cluster.local"));
    poll.on_tick(0, at(0));
    let mut asked = String::new();
    let mut questions = 0;
    while let Some(Question {
        subject: Subject::Counters,
        path,
        ..
    }) = poll.poll_question(MIDDLE, at(0))
    {
        assert!(path.len() <= MAX_PATH_BYTES);
        asked += &path;
        questions += 1;
        poll.on_counters(&BTreeMap::new(), at(0));
    }
    assert_eq!(questions, 11);
    let services = (0..MAX_CLUSTERS).map(|index| format!("service-{index:04}"));
    assert!(
        services
            .into_iter()
            .all(|name| asked.matches(&name).count() == 1)
    );
}

#[test]
fn path_asks_for_the_name_and_nothing_else() {
    let mut admin = Admin::new(&["outbound|80||a.b+c:/d é$"]);
    admin.poll.on_tick(0, at(0));
    let counters = admin.poll.poll_question(MIDDLE, at(0)).unwrap();
    assert_eq!(
        counters.path,
        "/stats?filter=%5Ecluster%5C.%28outbound%5C%7C80%5C%7C%5C%7Ca%5C.b%5C%2Bc_d%20%C3%A9%5C%24%29%5C.membership_"
    );
    admin.poll.on_counters(&admin.stats, at(0));
    let list = admin.poll.poll_question(MIDDLE, at(0)).unwrap();
    assert_eq!(
        list.path,
        "/clusters?format=json&filter=%5Eoutbound%5C%7C80%5C%7C%5C%7Ca%5C.b%5C%2Bc%3A%2Fd%20%C3%A9%5C%24%24"
    );
}

#[test]
fn name_that_envoy_counts_under_has_no_colon() {
    assert_eq!(stat_name("a:b://c:/d\0"), "a_b_c_d_");
    assert_eq!(re2_literal("a.\\*\0"), "a\\.\\\\\\*\\x00");
}

#[test]
fn interval_is_jittered_by_a_quarter_and_the_backoff_below_its_wait() {
    for (draw, expected_ms) in [(0, 750), (MIDDLE, 1000), (u64::MAX, 1250)] {
        let mut admin = Admin::new(&[]);
        admin.poll.add("echo");
        admin.poll.on_tick(draw, at(0));
        admin.poll.poll_question(draw, at(0)).unwrap();
        admin.poll.on_counters(&admin.stats, at(0));
        let list = admin.poll.poll_question(draw, at(0)).unwrap();
        admin.poll.on_failed(&list.subject, draw, at(0));
        let due = (0..3000).find(|ms| admin.poll.poll_question(draw, at(*ms)).is_some());
        assert_eq!(due, Some(expected_ms), "{draw}");
        admin
            .poll
            .on_failed(&Subject::Counters, draw, at(expected_ms));
        let listed =
            (expected_ms..4000).find(|ms| admin.poll.poll_question(draw, at(*ms)).is_some());
        // 2 s less up to a quarter of it.
        let expected_ms = if draw == u64::MAX {
            1501
        } else {
            2000 - 500 * (draw >> 62) / 4
        };
        assert!(
            listed.unwrap().abs_diff(expected_ms) <= 1,
            "{draw}: {listed:?}"
        );
    }
}

#[test]
fn clock_that_stands_still_asks_nothing_new() {
    let mut admin = Admin::new(&["echo"]);
    assert_eq!(admin.tick(0).len(), 2);
    for _ in 0..100 {
        assert_eq!(admin.tick(0), [""; 0]);
    }
}

#[test]
fn clock_that_steps_back_begins_the_waits_anew() {
    let mut admin = Admin::new(&["echo"]);
    admin.tick(YEAR);
    assert_eq!(admin.tick(0), [""; 0]);
    let asked = admin.run(250, 31 * SECOND);
    assert_eq!(asked[0], (1000, "counters".into()));
    assert_eq!(asked.iter().filter(|(_, what)| what == "echo").count(), 1);
    // Also for an answer that is under way.
    admin.poll.on_tick(0, at(YEAR));
    admin.poll.poll_question(0, at(YEAR)).unwrap();
    admin.poll.on_tick(0, at(0));
    admin.poll.on_tick(0, at(1000));
    assert_eq!(admin.poll.failed(), 1);
}

#[test]
fn clock_that_jumps_a_year_makes_everything_due_once() {
    let mut admin = Admin::new(&["echo"]);
    admin.tick(0);
    assert_eq!(admin.tick(YEAR), ["counters", "echo"]);
    assert_eq!(admin.tick(YEAR), [""; 0]);
}

proptest! {
    /// Whatever is reported and whenever: no panic, one question at a time, and it goes on asking.
    #[test]
    fn any_history_leaves_a_poll_that_goes_on(
        history in proptest::collection::vec((0_u8..8, any::<u64>(), any::<u64>()), 0..60)
    ) {
        let mut admin = Admin::new(&["a", "b"]);
        for (what, draw, now_ns) in history {
            let now = WallTime::from_ns(now_ns);
            let list = Subject::List { cluster: "a".into() };
            match what {
                0 => drop(admin.poll.on_counters(&admin.stats, now)),
                1 => admin.poll.on_listed("a", 5, "a"),
                2 => admin.poll.on_failed(&list, draw, now),
                3 => admin.poll.on_failed(&Subject::Counters, draw, now),
                4 => admin.poll.on_reading(now),
                5 => admin.poll.on_tick(draw, now),
                _ => {
                    if admin.poll.poll_question(draw, now).is_some() {
                        prop_assert_eq!(admin.poll.poll_question(draw, now), None);
                    }
                }
            }
        }
        let asked = admin.run(0, 100 * SECOND);
        let names = ["counters", "a", "b"];
        prop_assert!(names.iter().all(|name| asked.iter().any(|(_, what)| what == name)));
    }

    /// The simple matcher understands what RE2 does of a literal.
    #[test]
    fn literal_of_any_name_unescapes_to_the_name(name in "\\PC{0,40}") {
        let mut plain = String::new();
        let literal = re2_literal(&name);
        let mut rest = literal.chars();
        while let Some(character) = rest.next() {
            if character == '\\' {
                plain.push(rest.next().unwrap());
            } else {
                let is_special = ".+*?()|[]{}^$".contains(character);
                prop_assert!(!is_special);
                plain.push(character);
            }
        }
        prop_assert_eq!(plain, name);
    }
}
