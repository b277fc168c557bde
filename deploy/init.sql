-- Run once by the PostgreSQL image as superuser in the database "carillon": a role and a schema of its own for each
-- service, and no way into another's. Passwords come from the environment. psql 15 or newer.

\getenv users_password USERS_PASSWORD
\getenv templates_password TEMPLATES_PASSWORD
\getenv gateway_password GATEWAY_PASSWORD
\getenv email_worker_password EMAIL_WORKER_PASSWORD
\getenv push_worker_password PUSH_WORKER_PASSWORD

REVOKE ALL ON DATABASE carillon FROM PUBLIC;
REVOKE ALL ON SCHEMA public FROM PUBLIC;

CREATE ROLE users LOGIN PASSWORD :'users_password';
CREATE ROLE templates LOGIN PASSWORD :'templates_password';
CREATE ROLE gateway LOGIN PASSWORD :'gateway_password';
CREATE ROLE email_worker LOGIN PASSWORD :'email_worker_password';
CREATE ROLE push_worker LOGIN PASSWORD :'push_worker_password';

GRANT CONNECT, TEMPORARY ON DATABASE carillon TO users, templates, gateway, email_worker, push_worker;

CREATE SCHEMA users AUTHORIZATION users;
CREATE SCHEMA templates AUTHORIZATION templates;
CREATE SCHEMA gateway AUTHORIZATION gateway;
CREATE SCHEMA email_worker AUTHORIZATION email_worker;
CREATE SCHEMA push_worker AUTHORIZATION push_worker;

ALTER ROLE users IN DATABASE carillon SET search_path = users;
ALTER ROLE templates IN DATABASE carillon SET search_path = templates;
ALTER ROLE gateway IN DATABASE carillon SET search_path = gateway;
ALTER ROLE email_worker IN DATABASE carillon SET search_path = email_worker;
ALTER ROLE push_worker IN DATABASE carillon SET search_path = push_worker;
