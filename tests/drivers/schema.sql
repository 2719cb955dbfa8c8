-- What every run of a program finds: made anew before each, over a connection to the server itself.
drop schema public cascade;
create schema public;

create table item (
    id serial primary key,
    name text not null unique,
    amount integer,
    price numeric(12, 2),
    made timestamptz default '2026-01-01 00:00:00+00',
    tags text[],
    data jsonb,
    payload bytea,
    flag boolean
);

insert into item (name, amount, price, tags, data, payload, flag)
select
    'item ' || n,
    10 * n,
    n + 0.25,
    '{a,b}',
    jsonb_build_object('n', n),
    '\x00ff'::bytea || set_byte('\x00', 0, n),
    n % 2 = 1
from generate_series(1, 10) as n;

create table copied (id integer, name text, payload bytea);

create function noisy(message text) returns text language plpgsql as $$
begin
    raise notice '%', message;
    return message;
end
$$;

create function slow(seconds double precision) returns integer language plpgsql as $$
begin
    perform pg_sleep(seconds);
    return 1;
end
$$;
