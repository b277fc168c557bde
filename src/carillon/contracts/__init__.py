"""What crosses a wire between services: messages, API shapes, names of queues, and the decision on preferences."""
