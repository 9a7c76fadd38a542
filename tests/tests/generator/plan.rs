//! What happens at a source in one round: a list of steps that follows from the seed alone.

use rand::Rng;

use super::beside::Beside;
use super::definitions::redefine;
use super::history::{changes, insert};
use super::kinds::{Engine, Reach};
use super::tables::Table;
use super::values::Draw;

/// Tables at the beginning of a round.
const TABLES: u32 = 5;

/// Statements that belong together.
pub(super) struct Step {
    pub(super) statements: Vec<String>,
    pub(super) by: Side,
    /// They are one transaction: when one of them is refused, nothing has happened.
    pub(super) is_transaction: bool,
}

/// Who says them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    First,
    /// The session of [`Beside`].
    Second,
}

/// What the generator knows of a source.
pub(super) struct Plan {
    draw: Draw,
    /// The second session's transaction.
    beside: Option<Beside>,
    state: State,
    /// The state before the last step.
    before: State,
}

#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) tables: Vec<Table>,
    /// Names of tables that were dropped and not made again, with the targets that they went to.
    pub(super) dropped: Vec<(String, Reach)>,
    /// Numbers of names given so far.
    pub(super) serial: u32,
}

impl State {
    pub(super) fn next_serial(&mut self) -> u32 {
        self.serial += 1;
        self.serial
    }
}

/// Where the next table goes: mostly everywhere, else where only some values may go.
pub(super) fn some_reach(draw: &mut Draw) -> Reach {
    match draw.random.random_range(0..5) {
        0 => Reach::only(draw.source),
        1 if !draw.source.is_postgres() => Reach::EVERYWHERE.without(Engine::Postgres),
        _ => Reach::EVERYWHERE,
    }
}

impl Plan {
    pub(super) fn new(seed: u64, source: Engine) -> Plan {
        Plan { draw: Draw::new(seed, source), beside: None, state: State::default(), before: State::default() }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Forgets the last step, which was refused; of the second session, its whole transaction.
    pub(super) fn refuse(&mut self, by: Side) {
        if by == Side::Second {
            self.beside = None;
        }
        self.undo();
    }

    fn undo(&mut self) {
        // Numbers are not given again.
        let serial = self.state.serial;
        self.state = self.before.clone();
        self.state.serial = serial;
    }

    /// Tables with their first rows.
    pub(super) fn begin(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for index in 0..TABLES {
            let reach = match index {
                0 => Reach::only(self.draw.source),
                1 | 2 => Reach::EVERYWHERE,
                _ => some_reach(&mut self.draw),
            };
            let serial = self.state.next_serial();
            let (mut table, mut statements) = Table::new(&mut self.draw, serial, reach);
            // Now and then more rows than one chunk of the load has.
            let (count, most) = if self.draw.one_in(12) { (8, 400) } else { (self.draw.random.random_range(0..8), 30) };
            for _ in 0..count {
                statements.push(insert(&mut self.draw, &mut table, most));
            }
            self.state.tables.push(table);
            steps.push(Step { statements, by: Side::First, is_transaction: false });
        }
        steps
    }

    /// What happens next.
    pub(super) fn step(&mut self) -> Step {
        self.before = self.state.clone();
        if let Some(step) = self.step_beside() {
            return step;
        }
        if self.draw.one_in(9) || self.state.tables.is_empty() {
            if self.draw.source.is_postgres() && self.draw.one_in(3) && !self.state.tables.is_empty() {
                return self.transaction(true);
            }
            let statements = redefine(&mut self.draw, &mut self.state);
            return Step { statements, by: Side::First, is_transaction: false };
        }
        if self.draw.one_in(5) {
            // A statement is a transaction by itself; several are not, since a refused one would leave those before it.
            let mut statements = self.changes();
            let is_transaction = statements.len() > 1;
            if is_transaction {
                statements.insert(0, "begin".to_owned());
                statements.push("commit".to_owned());
            }
            return Step { statements, by: Side::First, is_transaction };
        }
        self.transaction(false)
    }

    /// The second session's next statements, when it is its turn.
    fn step_beside(&mut self) -> Option<Step> {
        let statements = match self.beside.take() {
            None if self.draw.one_in(8) => {
                let (beside, statements) = Beside::open(&mut self.draw, &mut self.state)?;
                self.beside = Some(beside);
                statements
            }
            Some(mut beside) if self.draw.one_in(4) => {
                let statements = beside.go_on(&mut self.draw, &mut self.state);
                self.beside = Some(beside);
                statements
            }
            Some(beside) if self.draw.one_in(6) => beside.end(&mut self.draw, &mut self.state),
            nothing => {
                self.beside = nothing;
                return None;
            }
        };
        Some(Step { statements, by: Side::Second, is_transaction: true })
    }

    /// Ends what the second session has open.
    pub(super) fn close(&mut self) -> Option<Step> {
        self.before = self.state.clone();
        let statements = self.beside.take()?.end(&mut self.draw, &mut self.state);
        Some(Step { statements, by: Side::Second, is_transaction: true })
    }

    /// A transaction, in PostgreSQL perhaps with a change of a definition inside.
    fn transaction(&mut self, redefines: bool) -> Step {
        let mut statements = vec!["begin".to_owned()];
        let parts = if self.draw.one_in(12) { 20 } else { self.draw.random.random_range(1..6) };
        let place = self.draw.random.random_range(0..parts);
        for part in 0..parts {
            if redefines && part == place {
                statements.extend(redefine(&mut self.draw, &mut self.state));
            }
            if self.state.tables.is_empty() {
                continue;
            }
            if self.draw.one_in(5) {
                self.savepoint(&mut statements);
            }
            let changes = self.changes();
            statements.extend(changes);
        }
        if self.draw.one_in(9) {
            statements.push("rollback".to_owned());
            self.undo();
        } else {
            statements.push("commit".to_owned());
        }
        Step { statements, by: Side::First, is_transaction: true }
    }

    /// Changes behind a savepoint, which are taken back, or not.
    fn savepoint(&mut self, statements: &mut Vec<String>) {
        let kept = self.state.clone();
        statements.push("savepoint s".to_owned());
        for _ in 0..self.draw.random.random_range(1..4) {
            let changes = self.changes();
            statements.extend(changes);
        }
        if self.draw.one_in(3) {
            statements.push("release savepoint s".to_owned());
        } else {
            statements.push("rollback to savepoint s".to_owned());
            self.state = kept;
        }
    }

    fn changes(&mut self) -> Vec<String> {
        let place = self.draw.random.random_range(0..self.state.tables.len());
        changes(&mut self.draw, &mut self.state.tables[place])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statements(seed: u64, source: Engine) -> Vec<String> {
        let mut plan = Plan::new(seed, source);
        let mut steps = plan.begin();
        steps.extend((0..100).map(|_| plan.step()));
        steps.into_iter().flat_map(|step| step.statements).collect()
    }

    #[test]
    fn the_same_seed_makes_the_same_statements_and_another_one_others() {
        for source in Engine::ALL {
            assert_eq!(statements(7, source), statements(7, source));
            assert_ne!(statements(7, source), statements(8, source));
        }
    }

    #[test]
    fn every_kind_of_statement_comes() {
        for source in Engine::ALL {
            let all: Vec<String> = (0..12).flat_map(|seed| statements(seed, source)).collect();
            for wanted in [
                "insert into",
                "update ",
                "delete from",
                "savepoint s",
                "rollback to savepoint s",
                "rollback",
                "commit",
                "truncate table",
                "drop table",
                "create table",
                "rename to",
                "rename column",
                "drop column",
                "add column",
                "unique (",
                "primary key (",
                "as select",
            ] {
                assert!(all.iter().any(|statement| statement.contains(wanted)), "{} never says {wanted}", source.name());
            }
        }
    }
}
