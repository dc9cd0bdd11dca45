mod arbitrary_bytes;
mod corpus;
mod harmless;
mod lessons;
mod news;
mod pauses;
mod peek;
mod statuses;
