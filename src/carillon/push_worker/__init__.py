"""The push worker: composes pushes, hands them to FCM, and tells users which devices are gone."""
