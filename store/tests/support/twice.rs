//! The decision in Rust and the one in Lua, side by side: they must answer the same.

use tower_throttle_store::{
    decide::SCRIPT,
    protocol::{Answer, Ask, Micros, Timing},
};

use super::{
    server::Server,
    world::{Memory, World},
};

const KEY: &str = "tower-throttle:{test}";

pub struct Twice {
    memory: Memory,
    connection: redis::Connection,
    script: redis::Script,
    timing: String,
    dump: Option<Vec<u8>>,
}

impl Twice {
    pub fn new(server: &Server, timing: Timing) -> Self {
        Self {
            memory: Memory::new(timing),
            connection: server.connection(),
            script: redis::Script::new(SCRIPT),
            timing: serde_json::to_string(&timing).unwrap(),
            dump: None,
        }
    }
}

impl World for Twice {
    fn ask(&mut self, ask: &Ask, clock: Micros, run: &str) -> Answer {
        let answer: String = self
            .script
            .key(KEY)
            .arg(serde_json::to_string(ask).unwrap())
            .arg(&self.timing)
            .arg("tower-throttle:{test}:")
            .arg(format!(r#"{{"clock":{clock},"run":"{run}"}}"#))
            .invoke(&mut self.connection)
            .unwrap();
        let lua: Answer =
            serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
        let rust = self.memory.ask(ask, clock, run);
        assert_eq!(lua, rust, "Lua on the left, Rust on the right, of {ask:#?}");
        rust
    }

    fn forget(&mut self) {
        self.memory.forget();
        redis::cmd("FLUSHALL").exec(&mut self.connection).unwrap();
    }

    fn save(&mut self) {
        self.memory.save();
        self.dump = redis::cmd("DUMP")
            .arg(KEY)
            .query(&mut self.connection)
            .unwrap();
    }

    fn restore(&mut self) {
        self.memory.restore();
        redis::cmd("FLUSHALL").exec(&mut self.connection).unwrap();
        if let Some(dump) = &self.dump {
            redis::cmd("RESTORE")
                .arg(KEY)
                .arg(0)
                .arg(dump)
                .exec(&mut self.connection)
                .unwrap();
        }
    }
}
