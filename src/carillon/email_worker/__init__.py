"""The e-mail worker: composes mail and hands it to SMTP providers, once, or says why not."""
