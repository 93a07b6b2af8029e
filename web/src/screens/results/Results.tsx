export default function Results({ taskId }: { taskId: string }) { return <h1>{taskId}</h1>; }
