//! Rings of tasks: whether a change that a task writes comes back to where it was made, and goes round.
//!
//! ```text
//!   A ──── there ───▶ B             marks fit at B: "there" writes the mark that "back" leaves out
//!   A ◀─── back ───── B             marks fit at A: "back" writes the mark that "there" leaves out
//! ```
//!
//! A change goes on from a database by each task that reads it, unless the marks of the task that wrote it and of the one that reads it
//! fit. Where they fit nowhere in a ring, an update goes round without end, and so does an insert unless it meets its own row; where they
//! fit in one place, changes made there come back once, and overwrite what was made since; where they fit in two or more, none comes back.
//!
//! Nothing is asked for here: see `ring_search` for what this decides by.

use std::collections::{HashMap, HashSet, VecDeque};

use tidegate_catalog::EndpointSpec;
use tidegate_connector::{Finding, Loopback};
use tidegate_model::{Engine, TableName};

/// Tasks of a ring. Longer ones are not looked for (by guess: nobody has them by mistake).
pub(super) const TASKS_MAX: usize = 8;

/// Tables that a finding lists before it says how many more there are.
const LISTED_MAX: usize = 5;

/// A database, as endpoints name it. In MySQL and MariaDB a server is one: the names of its tables tell the database.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    host: String,
    port: u16,
    database: Option<String>,
}

impl Place {
    pub(super) fn of(endpoint: &EndpointSpec) -> Self {
        let database = match endpoint.engine {
            Engine::Postgres => endpoint.database.clone(),
            Engine::Mysql | Engine::Mariadb => None,
        };
        Self { host: endpoint.host.to_lowercase(), port: endpoint.port, database }
    }
}

/// A task that carries changes from one database to another.
#[derive(Debug, Clone)]
pub(super) struct Leg {
    pub(super) task: String,
    pub(super) from: Place,
    pub(super) to: Place,
    pub(super) marks: Option<Loopback>,
}

impl Leg {
    /// True when the next task leaves out what this one writes.
    fn is_left_out_by(&self, next: &Leg) -> bool {
        let marks = self.marks.as_ref().zip(next.marks.as_ref());
        marks.is_some_and(|(own, others)| own.target == others.source)
    }
}

/// What a leg's tables are called where it goes, by what they are called where it comes from.
pub(super) type Names = HashMap<TableName, TableName>;

/// A way by which changes come back to where they were made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ring {
    /// In the order in which a change goes through them.
    pub(super) legs: Vec<usize>,
    /// Databases at which marks fit: none or one.
    pub(super) fitting: usize,
    /// Tables of the first leg's source that come back as what they are.
    pub(super) tables: Vec<TableName>,
}

/// The legs that are on a way from the end of this one to its beginning, without it, by their places alone.
pub(super) fn around(legs: &[Leg], of: usize) -> Vec<usize> {
    let mut reached = HashSet::from([&legs[of].to]);
    let mut leading = HashSet::from([&legs[of].from]);
    loop {
        let before = (reached.len(), leading.len());
        for leg in legs {
            if reached.contains(&leg.from) {
                reached.insert(&leg.to);
            }
            if leading.contains(&leg.to) {
                leading.insert(&leg.from);
            }
        }
        if (reached.len(), leading.len()) == before {
            break;
        }
    }
    (0..legs.len()).filter(|leg| *leg != of && reached.contains(&legs[*leg].from) && leading.contains(&legs[*leg].to)).collect()
}

/// A change on its way: through which legs it went, under which name it came, and at how many places marks fit.
struct Way {
    legs: Vec<usize>,
    name: TableName,
    fitting: usize,
}

/// The rings that a leg is part of, those of the fewest tasks first. `names` holds the names of each leg's tables.
pub(super) fn rings(legs: &[Leg], names: &[Names], of: usize) -> Vec<Ring> {
    let mut found: Vec<Ring> = Vec::new();
    let mut tables: Vec<(&TableName, &TableName)> = names[of].iter().collect();
    tables.sort();
    for (table, target) in tables {
        for way in ways_back(legs, names, of, table, target) {
            match found.iter_mut().find(|ring| ring.legs == way.legs) {
                Some(ring) => ring.tables.push(table.clone()),
                None => found.push(Ring { legs: way.legs, fitting: way.fitting, tables: vec![table.clone()] }),
            }
        }
    }
    found.sort_by_key(|ring| ring.legs.len());
    found
}

/// How changes of one table come back, through each database once.
fn ways_back(legs: &[Leg], names: &[Names], of: usize, table: &TableName, target: &TableName) -> Vec<Way> {
    let (mut back, mut seen) = (Vec::new(), HashSet::new());
    let mut ways = VecDeque::from([Way { legs: vec![of], name: target.clone(), fitting: 0 }]);
    while let Some(way) = ways.pop_front() {
        let last = &legs[*way.legs.last().expect("a way begins with a leg")];
        for next in (0..legs.len()).filter(|next| legs[*next].from == last.to) {
            let Some(name) = names[next].get(&way.name) else { continue };
            let fitting = way.fitting + usize::from(last.is_left_out_by(&legs[next]));
            let is_passed = |place: &Place| way.legs.iter().any(|leg| legs[*leg].to == *place);
            let further = |fitting| Way { legs: way.legs.iter().copied().chain([next]).collect(), name: name.clone(), fitting };
            if legs[next].to == legs[of].from {
                let fitting = fitting + usize::from(legs[next].is_left_out_by(&legs[of]));
                back.extend((name == table && fitting < 2).then(|| further(fitting)));
            } else if fitting < 2 && way.legs.len() + 1 < TASKS_MAX && !is_passed(&legs[next].to) && seen.insert((next, fitting, name)) {
                ways.push_back(further(fitting));
            }
        }
    }
    back
}

impl Ring {
    /// What the check of the first leg's task says.
    pub(super) fn finding(&self, legs: &[Leg]) -> Finding {
        let tasks: Vec<String> = self.legs.iter().map(|leg| format!("\"{}\"", legs[*leg].task)).collect();
        let more = self.tables.len().saturating_sub(LISTED_MAX);
        let listed: Vec<String> = self.tables[..self.tables.len() - more].iter().map(|table| format!("\"{table}\"")).collect();
        let tables = format!("{}{}", listed.join(", "), if more > 0 { format!(" and {more} more") } else { String::new() });
        let what = match self.fitting {
            0 => "come back to where they were made: an update goes round without end, and so does an insert unless it meets its own row",
            _ => "that were made in one of the databases come back to it, over what was made there since",
        };
        let [_, others @ ..] = &tasks[..] else { unreachable!("a ring has two tasks or more") };
        match others {
            [other] => Finding::warning(
                "loop",
                format!("task {other}"),
                format!("it goes in the opposite direction: changes of {tables} {what}"),
                "two tasks of which each leaves out what the other one wrote",
            )
            .fix("set settings.loopback of both tasks to {}, or to marks of which the source_mark of each is the target_mark of the other"),
            others => Finding::warning(
                "loop",
                format!("tasks {}", others.join(", ")),
                format!("they and this task make a ring: changes of {tables} {what}"),
                "no ring of one-way tasks: no mark tells there what came back from what has to pass",
            )
            .fix("leave out one of the tasks, or join neighbours by two tasks each, with marks of their own in settings.loopback"),
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_connector::{LoopMark, Severity};

    use super::*;

    fn place(name: &str) -> Place {
        Place { host: "db".into(), port: 5432, database: Some(name.into()) }
    }

    /// A task by its databases, `A>B`, and its marks, source and target.
    fn leg(way: &str, marks: Option<(&str, &str)>) -> Leg {
        let (from, to) = way.split_once('>').unwrap();
        let mark = |text: &str| LoopMark::new(text).unwrap();
        let marks = marks.map(|(source, target)| Loopback { source: mark(source), target: mark(target) });
        Leg { task: way.to_lowercase().replace('>', "-"), from: place(from), to: place(to), marks }
    }

    fn table(name: &str) -> TableName {
        TableName::new("s", name)
    }

    /// Names that stay, or change: `t` or `t:u`.
    fn names(tables: &[&str]) -> Names {
        let name = |text: &&str| {
            let (source, target) = text.split_once(':').unwrap_or((text, text));
            (table(source), table(target))
        };
        tables.iter().map(name).collect()
    }

    type Told<'a> = (&'a str, Option<(&'a str, &'a str)>, &'a [&'a str]);

    /// Rings of the first leg: the legs, at how many places marks fit, the tables.
    fn found(legs: &[Told<'_>]) -> Vec<(Vec<usize>, usize, Vec<String>)> {
        let named: Vec<Names> = legs.iter().map(|(_, _, tables)| names(tables)).collect();
        let legs: Vec<Leg> = legs.iter().map(|(way, marks, _)| leg(way, *marks)).collect();
        let told = |ring: Ring| (ring.legs, ring.fitting, ring.tables.into_iter().map(|table| table.name).collect());
        rings(&legs, &named, 0).into_iter().map(told).collect()
    }

    #[test]
    fn two_directions_are_a_ring_unless_both_leave_out_what_the_other_wrote() {
        let (same, here, there) = (Some(("x", "x")), Some(("b", "a")), Some(("a", "b")));
        let ring = |fitting| vec![(vec![0, 1], fitting, vec!["t".to_owned()])];
        let cases = [
            (None, None, ring(0)),
            (same, None, ring(0)),
            (None, same, ring(0)),
            (same, same, vec![]),
            (here, there, vec![]),
            (here, here, ring(0)),
            (here, Some(("a", "c")), ring(1)),
            (here, Some(("c", "b")), ring(1)),
        ];
        for (own, other, wanted) in cases {
            assert_eq!(found(&[("A>B", own, &["t"]), ("B>A", other, &["t"])]), wanted, "{own:?} {other:?}");
        }
    }

    #[test]
    fn only_tables_that_come_back_as_what_they_are_go_round() {
        let cases: [(&[&str], &[&str], &[&str]); 6] = [
            (&["t", "u"], &["v"], &[]),
            (&["t", "u"], &["u", "v"], &["u"]),
            (&["t:t_copy"], &["t_copy:t"], &["t"]),
            (&["t:t_copy"], &["t"], &[]),
            (&["t:t_copy"], &["t_copy"], &[]),
            (&["u", "t"], &["t", "u"], &["t", "u"]),
        ];
        for (there, back, wanted) in cases {
            let found = found(&[("A>B", None, there), ("B>A", None, back)]);
            let tables: Vec<&str> = found.iter().flat_map(|(_, _, tables)| tables).map(String::as_str).collect();
            assert_eq!(tables, wanted, "{there:?} {back:?}");
        }
    }

    #[test]
    fn one_way_chains_and_tasks_side_by_side_are_no_rings() {
        assert_eq!(found(&[("A>B", None, &["t"]), ("B>C", None, &["t"]), ("A>C", None, &["t"]), ("A>B", None, &["t"])]), []);
        assert_eq!(found(&[("A>B", None, &["t"]), ("B>C", None, &["t"]), ("C>B", None, &["t"])]), [], "the ring is one of others");
    }

    #[test]
    fn each_ring_is_told_the_shortest_first_and_through_each_database_once() {
        let tables: &[&str] = &["t"];
        let ring = |legs: &[usize]| (legs.to_vec(), 0, vec!["t".to_owned()]);
        let legs = [("A>B", None, tables), ("B>C", None, tables), ("C>A", None, tables), ("B>A", None, tables), ("C>B", None, tables)];
        assert_eq!(found(&legs), [ring(&[0, 3]), ring(&[0, 1, 2])]);
        // Two of three leave out what comes to them: nothing comes back.
        let (default, other) = (Some(("x", "x")), Some(("y", "x")));
        assert_eq!(found(&[("A>B", default, tables), ("B>C", default, tables), ("C>A", other, tables)]), []);
        let one = found(&[("A>B", default, tables), ("B>C", default, tables), ("C>A", None, tables)]);
        assert_eq!(one, [(vec![0, 1, 2], 1, vec!["t".to_owned()])]);
    }

    #[test]
    fn a_ring_of_more_tasks_than_are_looked_for_is_not_told() {
        let ring = |count: usize| {
            let ways: Vec<String> = (0..count).map(|at| format!("{at}>{}", (at + 1) % count)).collect();
            let tables: &[&str] = &["t"];
            found(&ways.iter().map(|way| (way.as_str(), None, tables)).collect::<Vec<_>>()).len()
        };
        assert_eq!((ring(2), ring(TASKS_MAX), ring(TASKS_MAX + 1)), (1, 1, 0));
    }

    #[test]
    fn only_tasks_on_a_way_back_are_looked_at() {
        let legs: Vec<Leg> = ["A>B", "B>C", "C>A", "B>D", "E>A", "B>A", "A>B", "F>G"].map(|way| leg(way, None)).to_vec();
        assert_eq!(around(&legs, 0), [1, 2, 5, 6]);
        assert!(around(&legs, 3).is_empty());
    }

    #[test]
    fn a_server_of_mysql_is_one_place_and_one_of_postgres_has_a_place_for_each_database() {
        let endpoint = |engine, database: &str| EndpointSpec {
            name: "e".into(),
            role: tidegate_catalog::Role::Source,
            engine,
            host: "DB.example".into(),
            port: 1,
            username: "u".into(),
            password: tidegate_catalog::Secret::new("p"),
            database: Some(database.into()),
            tls: tidegate_catalog::TlsChoice { mode: tidegate_catalog::TlsMode::Disable, authorities_pem: None },
            dms: serde_json::Value::Null,
        };
        let place = |engine, database| Place::of(&endpoint(engine, database));
        assert_eq!(place(Engine::Mysql, "a"), place(Engine::Mariadb, "b"));
        assert_ne!(place(Engine::Postgres, "a"), place(Engine::Postgres, "b"));
        let other = EndpointSpec { name: "other".into(), host: "db.EXAMPLE".into(), ..endpoint(Engine::Postgres, "a") };
        assert_eq!(Place::of(&other), place(Engine::Postgres, "a"));
    }

    #[test]
    fn a_finding_names_the_other_tasks_the_tables_and_what_to_set() {
        let legs: Vec<Leg> = ["A>B", "B>A", "B>C", "C>A"].map(|way| leg(way, None)).to_vec();
        let tables: Vec<TableName> = ["a", "b", "c", "d", "e", "f", "g"].map(table).to_vec();
        let pair = Ring { legs: vec![0, 1], fitting: 0, tables }.finding(&legs);
        assert_eq!((pair.severity, pair.code, pair.object.as_str()), (Severity::Warning, "loop", "task \"b-a\""));
        assert!(
            pair.found.contains("\"s.a\", \"s.b\", \"s.c\", \"s.d\", \"s.e\" and 2 more come back to where they were made"),
            "{}",
            pair.found
        );
        assert!(pair.fix.is_some_and(|fix| fix.contains("settings.loopback")));
        let three = Ring { legs: vec![0, 2, 3], fitting: 1, tables: vec![table("a")] }.finding(&legs);
        assert_eq!(three.object, "tasks \"b-c\", \"c-a\"");
        assert!(three.found.contains("changes of \"s.a\" that were made in one"), "{}", three.found);
    }
}
