-- Run once by the PostgreSQL image as superuser: a role and a database of its own for each service, and no way into another's.
-- Passwords are read from the files that make-secrets.sh makes; elsewhere: psql --set secrets=FOLDER. psql 15 or newer.

\if :{?secrets}
\else
\set secrets /run/secrets
\endif

\set users_password `cat :'secrets'/users_password`
\set templates_password `cat :'secrets'/templates_password`
\set gateway_password `cat :'secrets'/gateway_password`
\set email_worker_password `cat :'secrets'/email_worker_password`
\set push_worker_password `cat :'secrets'/push_worker_password`

CREATE ROLE users LOGIN PASSWORD :'users_password';
CREATE ROLE templates LOGIN PASSWORD :'templates_password';
CREATE ROLE gateway LOGIN PASSWORD :'gateway_password';
CREATE ROLE email_worker LOGIN PASSWORD :'email_worker_password';
CREATE ROLE push_worker LOGIN PASSWORD :'push_worker_password';

CREATE DATABASE users OWNER users;
CREATE DATABASE templates OWNER templates;
CREATE DATABASE gateway OWNER gateway;
CREATE DATABASE email_worker OWNER email_worker;
CREATE DATABASE push_worker OWNER push_worker;

REVOKE ALL ON DATABASE postgres, users, templates, gateway, email_worker, push_worker FROM PUBLIC;
